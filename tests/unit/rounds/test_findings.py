"""Sentences of findings, against scipy and counts made one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from scipy import stats

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import Finding, Outcome, Outcomes, find

HIGH, LOW, WRONG = Quadrant.CORRECT_HIGH, Quadrant.CORRECT_LOW, Quadrant.WRONG_LOW


def place(name: str, i: int) -> int:
    """Return the index of a class's probe."""
    return 100 * sorted({*DIGITS, "zero", "cat"}).index(name) + i


def outcomes(
    number: int, lows: dict[str, int], size: int = 20, *, wrong: int = 0, fingerprint: str = "f"
) -> Outcomes:
    """Return a round in which so many of each class's probes, its first ones, are Correct-Low."""
    return Outcomes(
        stage="fit",
        number=number,
        epoch=number,
        fingerprint=fingerprint,
        samples=tuple(
            Outcome((place(name, i), None), name, i < size - wrong, LOW if i < low else HIGH)
            for name, low in lows.items()
            for i in range(size)
        ),
    )


def texts(found: Sequence[Finding]) -> list[str]:
    """Return the sentences."""
    return [of.text for of in found]


DIGITS = {name: 0 for name in ("one", "two", "three", "four", "five", "six", "seven")}  # noqa: C420


def test_the_class_with_the_shortcut_comes_first_and_since_when() -> None:
    """From the round on in which it stands out without a break."""
    lows = [0, 19, 1, 15, 20, 20]
    rounds = [outcomes(n, {**DIGITS, "zero": low}) for n, low in enumerate(lows)]
    found = find(rounds)
    assert found[0] == Finding(
        "zero: 20 of 20 right for the wrong reason in epoch 5, and standing out since epoch 3 "
        "(15 of 20).",
        "zero",
        is_alarm=True,
        number=5,
    )
    assert find(rounds[:2])[0].text == "zero: 19 of 20 right for the wrong reason in epoch 1."


def test_a_class_that_moved_is_told_with_its_counts() -> None:
    """From the round before or the first; what stands out is not told twice."""
    shortcut = {**dict.fromkeys(DIGITS, 4), "seven": 0, "zero": 20}
    rounds = [outcomes(0, shortcut), outcomes(1, shortcut), outcomes(2, {**shortcut, "seven": 8})]
    found = texts(find(rounds))
    assert "zero: 20 of 20" in found[0]
    assert found[1] == (
        "seven: from 0 to 8 of 20 right for the wrong reason between epoch 1 and epoch 2."
    )
    assert sum("zero" in text for text in found) == 1
    fell = find([outcomes(0, {**DIGITS, "one": 12, "two": 12}), outcomes(1, dict(DIGITS))])
    assert fell[0] == Finding(
        "one: from 12 to 0 of 20 right for the wrong reason between epoch 0 and epoch 1.",
        "one",
        is_alarm=False,
        number=0,  # where there is something to see
    )


def test_accuracy_stands_beside_correct_low() -> None:
    """The first rises while the second does: the point of the product."""
    rounds = [outcomes(0, dict.fromkeys(DIGITS, 2), wrong=8), outcomes(1, dict.fromkeys(DIGITS, 9))]
    (overall,) = [of for of in find(rounds) if of.text.startswith("Correct-Low is")]
    assert overall.is_alarm
    assert overall.text == (
        "Correct-Low is 63 of 140 in epoch 1 (0.45, 95 % 0.37 to 0.53) at an accuracy of 1.00. In "
        "epoch 0 it was 0.10 at 0.60: Correct-Low rose, accuracy rose."
    )


def test_chance_is_called_chance() -> None:
    """One probe more or less moves nothing, and no class stands out."""
    found = find([outcomes(0, dict.fromkeys(DIGITS, 2)), outcomes(1, {**DIGITS, "one": 3})][:1])
    assert not any(of.is_alarm for of in found)
    assert found[-1].text == "No class stands out beyond chance."
    both = find([outcomes(0, dict.fromkeys(DIGITS, 2)), outcomes(1, dict.fromkeys(DIGITS, 3))])
    assert "Correct-Low rose" in both[0].text  # 7 of 140 came, none went: p = .016
    assert both[-1].text == "No class stands out or moved beyond chance."


def test_few_probes_a_class_are_said_to_be_few() -> None:
    """With what to change."""
    assert find([outcomes(0, DIGITS, size=2)])[-1].text == (
        "No class stands out beyond chance, and with 2 judged probes a class (median) little could "
        "be seen: raise `probe_size`, or name `watch_classes`."
    )


def test_what_was_not_judged_is_no_finding() -> None:
    """Reasons are told; a silent round after judged ones is told last."""
    silent = Outcomes(
        stage="fit",
        number=1,
        epoch=1,
        fingerprint="f",
        samples=tuple(Outcome((i, None), "cat", True, None, "timeout") for i in range(3)),
    )
    said = "No sample of epoch 1 was judged (3 timeout): nothing can be said of it."
    assert texts(find([silent])) == [said]
    found = texts(find([outcomes(0, DIGITS), silent]))
    assert found[0].startswith("Correct-Low is 0 of 140 in epoch 0")
    assert found[-1] == said


def test_rounds_of_other_probes_are_left_out() -> None:
    """What moved between different pictures is no move."""
    found = find([outcomes(0, {**DIGITS, "one": 20}, fingerprint="old"), outcomes(1, DIGITS)])
    assert texts(found) == [
        "Correct-Low is 0 of 140 in epoch 1 (0.00, 95 % 0.00 to 0.03) at an accuracy of 1.00.",
        "No class stands out beyond chance.",
    ]


def test_one_class_alone_cannot_stand_out() -> None:
    """There is nothing that it could stand out from."""
    found = find([outcomes(0, {"cat": 20})])
    assert texts(found) == [
        "Correct-Low is 20 of 20 in epoch 0 (1.00, 95 % 0.84 to 1.00) at an accuracy of 1.00.",
        "No class stands out beyond chance.",
    ]


def literal(lows: dict[str, int], size: int = 20) -> set[str]:
    """Return what stands out by scipy's test, Holm's correction and the removal written out."""
    rest, found = dict(lows), set()
    while len(rest) > 1:
        low, total = sum(rest.values()), size * len(rest)
        values = {
            name: stats.fisher_exact([[k, size - k], [low - k, total - size - low + k]]).pvalue
            for name, k in rest.items()
        }
        sure = set()
        for rank, (name, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
            if p * (len(values) - rank) > 0.05:
                break
            if rest[name] / size > low / total:
                sure.add(name)
        if not sure:
            break
        found |= sure
        rest = {name: k for name, k in rest.items() if name not in sure}
    return found


def test_what_stands_out_is_what_scipys_test_says() -> None:
    """In drawn rounds, and where one class would hide another."""
    rng = random.Random(0)  # noqa: S311 - a simulation
    for _ in range(40):
        lows = {name: rng.choice([0, 1, 2, 4, 8, 14]) for name in DIGITS}
        expected = literal(lows)
        found = [of.label for of in find([outcomes(0, lows)]) if of.label]
        assert set(found) <= expected
        assert len(found) == min(4, len(expected))
    hidden = {**DIGITS, "zero": 20, "six": 20, "seven": 7}
    assert {of.label for of in find([outcomes(0, hidden)]) if of.label} == {"zero", "six", "seven"}


def test_an_object_that_is_attended_in_part_is_no_wrong_reason() -> None:
    """What was measured is said, of most of a class's samples in its first words."""
    closed = outcomes(0, {**DIGITS, "one": 8})

    def partly(count: int) -> str:
        lows = iter(range(8))
        samples = tuple(
            s._replace(is_partly=next(lows) < count) if s.is_low else s for s in closed.samples
        )
        return find([replace(closed, samples=samples)])[0].text

    on_it = "what is kept lies on the object and covers little of it."
    assert partly(0) == "one: 8 of 20 right for the wrong reason in epoch 0."
    assert partly(2) == f"one: 8 of 20 right for the wrong reason in epoch 0. In 2 of these {on_it}"
    assert partly(7) == f"one: 8 of 20 right with little attended in epoch 0. In 7 of these {on_it}"


def drawn(rng: random.Random, number: int) -> Outcomes:
    """Return a round in which every probe is Correct-Low in one of five cases."""
    samples = tuple(
        Outcome((place(name, i), None), name, True, LOW if rng.random() < 0.2 else HIGH)
        for name in DIGITS
        for i in range(20)
    )
    return replace(outcomes(number, {}), samples=samples)


def test_where_all_classes_are_alike_hardly_a_round_alarms() -> None:
    """At most 5 % of rounds are wrong about a class that stands out, and as many about a rise."""
    rng = random.Random(1)  # noqa: S311 - a simulation
    stood = rose = 0
    for _ in range(400):
        rounds = [drawn(rng, 0), drawn(rng, 1)]
        stood += any(of.label for of in find(rounds[:1]))
        rose += any(of.is_alarm and "from" in of.text for of in find(rounds) if of.label)
    assert stood <= 20
    assert rose <= 20


def test_an_audit_names_no_epoch_and_holds_right_answers() -> None:
    """A class that is right more often has more Correct-Low by that alone: none stands out."""
    round_ = outcomes(0, {**dict.fromkeys(DIGITS, 2), "zero": 20, "cat": 0}, size=60)
    seldom = tuple(
        s
        if s.label != "cat" or s.place[0] % 100 < 5
        else s._replace(is_correct=False, quadrant=WRONG)
        for s in round_.samples
    )
    audit = replace(round_, stage="validate", is_audit=True, samples=seldom)
    found = texts(find([audit]))
    assert found[0] == "zero: 20 of 60 right answers are for the wrong reason."
    assert found[1] == (
        "Correct-Low is 34 of 540 (0.06, 95 % 0.05 to 0.09) at an accuracy of 0.90; of the 485 "
        "right answers 34 are Low (0.07, 95 % 0.05 to 0.10)."
    )
    assert found[2:] == ["Nothing else stands out beyond chance."]
    often = dict.fromkeys(DIGITS, 10)
    mixed = outcomes(0, often, size=100)
    half = tuple(
        s if s.label == "one" or s.place[0] % 2 else s._replace(is_correct=False, quadrant=WRONG)
        for s in mixed.samples
    )
    assert not any(of.is_alarm for of in find([replace(mixed, is_audit=True, samples=half)]))


def test_scores_without_labels_are_told() -> None:
    """How many are Low, and that nobody knows which predictions are right."""
    samples = tuple(Outcome((i, None), "", None, None, is_high=i >= 3) for i in range(10))
    unlabelled = Outcomes(
        stage="predict", number=0, epoch=0, fingerprint="", samples=samples, is_audit=True
    )
    (told,) = texts(find([unlabelled]))
    assert told == (
        "3 of 10 predictions rest on something else than the thing they name (0.30, 95 % 0.11 to "
        "0.60). There are no labels: which of the predictions are right is not known."
    )
