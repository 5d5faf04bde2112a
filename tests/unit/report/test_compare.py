"""Runs on one page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.records import Round
from lightning_vlmxai.report import say_comparison, write_comparison
from lightning_vlmxai.rounds.paired import Pairs, mcnemar_p, paired_interval
from run_folders import PROBES, SILENT, count, make_round, score_of, unpack, write_run

LOW = "correct_low"


def lower(probe: int, number: int) -> float | None:
    """Return the scores of a run that attends to the object less often."""
    score = score_of(probe, number)
    return None if score is None else max(0.0, score - 2)


def always(score: float) -> Callable[[int, int], float]:
    """Return a scoring that never changes."""
    return lambda *_: score


def pairs_of(a: Round, b: Round, quadrant: str, label: str | None = None) -> Pairs:
    """Return a quadrant's pairs, counted one by one over probes that both judged."""
    found = dict.fromkeys(((True, True), (True, False), (False, True), (False, False)), 0)
    for one, other in zip(a.samples, b.samples, strict=True):
        if label is not None and one.explanation.label_name != label:
            continue
        if one.quadrant is not None and other.quadrant is not None:
            found[one.quadrant.value == quadrant, other.quadrant.value == quadrant] += 1
    return Pairs(*found.values())


def rows(view: dict, of: str = "figures") -> dict:  # type: ignore[type-arg]
    """Return the rows of a view by name."""
    return {row["name"]: row for row in view[of]}


def test_differences_are_those_of_the_shared_probes(tmp_path: Path) -> None:
    """At the last epoch that both runs judged, against pairs counted one by one."""
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", [make_round(n, score=lower) for n in range(4)], alpha=5.0)
    view = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())["views"][0]
    assert view["name"] == "epoch 3"
    for key, number in count(a[3]).items():
        row = rows(view)[key.replace("_", "-").title()]
        pairs, (difference,) = pairs_of(a[3], b[3], key), row["differences"]
        assert row["shares"][0][:2] == [number, sum(count(a[3]).values())]
        assert row["shares"][1][:2] == [count(b[3])[key], sum(count(b[3]).values())]
        assert difference["shared"] == sum(pairs)
        assert difference["value"] == pytest.approx((pairs.second - pairs.first) / sum(pairs))
        assert difference["ends"] == pytest.approx(paired_interval(pairs))
        assert difference["p"] >= mcnemar_p(pairs.first, pairs.second)


def test_accuracy_is_over_all_probes_the_unscored_among_them(tmp_path: Path) -> None:
    """A judge's silence doesn't change what was right."""
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    view = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())["views"][0]
    right = sum(sample.explanation.is_correct for sample in a[4].samples)
    assert [share[:2] for share in rows(view)["Accuracy"]["shares"]] == [[right, PROBES]] * 2
    assert len(b[4].samples) == PROBES


def test_every_epoch_that_both_judged_can_be_chosen_and_the_last_rounds(tmp_path: Path) -> None:
    """Newest first; a silent round is none; unlike last rounds come at the end."""
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", [make_round(n) for n in range(4)])
    views = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())["views"]
    shared = [n for n in (3, 2, 1, 0) if n != SILENT]
    assert [view["key"] for view in views] == [*(f"e{n}" for n in shared), "last"]
    assert views[-1]["name"] == "last rounds: A fit 4 (epoch 4), B fit 3 (epoch 3)"


def test_rounds_can_be_named(tmp_path: Path) -> None:
    """These come first; a round that is not there is said with those that are."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        write_run(folder)
    page = write_comparison(folders, rounds=["fit-0", "fit-3"]).read_text()
    assert unpack(page)["views"][0]["name"].startswith("chosen rounds: A fit 0 (epoch 0), B fit 3")
    with pytest.raises(ConfigurationError, match="fit-0, fit-1, fit-2, fit-3, fit-4"):
        write_comparison(folders, rounds=["fit-0", "fit-9"])
    with pytest.raises(ConfigurationError, match="2 rounds, one of each run"):
        write_comparison(folders, rounds=["fit-0"])


def test_the_first_line_says_what_differs_beyond_chance(tmp_path: Path) -> None:
    """One run sees all objects, one none; the terminal says what the page says."""
    write_run(tmp_path / "a", [make_round(0, probes=60, score=always(5.0))])
    write_run(tmp_path / "b", [make_round(0, probes=60, score=always(0.0))])
    said = say_comparison([tmp_path / "a", tmp_path / "b"])
    assert said[0].startswith("At epoch 0. B against A, on the same 60 probes: Correct-High 0.75")
    assert "Correct-Low 0.00 and 0.75 (+0.75" in said[0]
    assert said[1] == "Accuracy differs no more than by chance: 0.75 and 0.75."
    assert re.search(r"by class: .*cat 0 of 20 in A, 15 of 20 in B", said[2])
    data = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())
    assert [
        f"At epoch 0. {data['views'][0]['sentences'][0]}",
        *data["views"][0]["sentences"][1:],
    ] == said


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Nor from one in which two probes fell: that is chance."""
    write_run(tmp_path / "a", [make_round(0, probes=60, score=always(5.0))])
    fallen = make_round(0, probes=60, score=lambda probe, _: 0.0 if probe < 3 else 5.0)
    write_run(tmp_path / "b", [fallen])
    for pair in (["a", "a"], ["a", "b"]):
        said = say_comparison([tmp_path / name for name in pair])
        assert said == [
            "At epoch 0. A and B differ in no rate beyond chance, on the same 60 probes."
        ]


def test_a_class_that_differs_comes_before_rates_that_do_not(tmp_path: Path) -> None:
    """One class of many turned, and the overall rates are too near to tell."""
    names = [f"class {k}" for k in range(12)]

    def of(low: set[int]) -> Round:
        closed = make_round(1, probes=120, score=lambda probe, _: 0.0 if probe in low else 5.0)
        samples = [
            replace(s, explanation=replace(s.explanation, label_name=names[i % 12]))
            for i, s in enumerate(closed.samples)
        ]
        return replace(closed, samples=tuple(samples))

    one, other = ({probe for probe in range(120) if probe % 12 == k} for k in (6, 2))
    write_run(tmp_path / "a", [replace(of(one), fingerprint="other")])
    write_run(tmp_path / "b", [of(other)])
    said = say_comparison([tmp_path / "a", tmp_path / "b"])
    assert said[0].startswith("At epoch 1. Right for the wrong reason by class: class ")
    assert said[1] == "In all, A and B differ in no rate beyond chance, on different probes."


def test_three_runs_are_held_against_the_first(tmp_path: Path) -> None:
    """A column each, a difference for all but the first; nine are too many."""
    folders = [tmp_path / name for name in "abc"]
    for folder, score in zip(folders, (5.0, 5.0, 0.0), strict=True):
        write_run(folder, [make_round(0, probes=60, score=always(score))])
    view = unpack(write_comparison(folders).read_text())["views"][0]
    row = rows(view)["Correct-Low"]
    assert [share[2] for share in row["shares"]] == [0.0, 0.0, 0.75]
    assert [of["sure"] for of in row["differences"]] == [False, True]
    assert say_comparison(folders)[1].startswith("C against A, on the same 60 probes")
    with pytest.raises(ConfigurationError, match="two to 8"):
        write_comparison([tmp_path / "a"] * 9)


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    """Those that only one run has among them."""
    write_run(tmp_path / "a", [make_round(0)])
    write_run(tmp_path / "b", [make_round(0)], alpha=5.0, seed=3)
    text = write_comparison([tmp_path / "a", tmp_path / "b"]).read_text()
    (table,) = re.findall(r'id="settings">(.*?)</table>', text, re.S)
    found = re.findall(r"<bdi>(.*?)</bdi>", table)
    assert found == ["alpha", "15", "5", "seed", "\N{EN DASH}", "3"]


def test_probes_whose_quadrant_differs_are_shown(tmp_path: Path) -> None:
    """Those that both runs judged, and no others."""
    (a,) = write_run(tmp_path / "a", [make_round(4)])
    (b,) = write_run(tmp_path / "b", [make_round(4, score=lower)])
    data = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())
    expected = [
        one.explanation.probe_index
        for one, other in zip(a.samples, b.samples, strict=True)
        if one.quadrant is not None and other.quadrant is not None
        if one.quadrant is not other.quadrant
    ]
    assert 0 < len(expected) < PROBES
    for side in (0, 1):
        own = data["tables"][side]["samples"]["probe"]
        assert [own[pair[side]] for pair in data["views"][0]["differ"]] == expected


def test_other_samples_are_said_loudly_and_not_paired(tmp_path: Path) -> None:
    """Where fingerprints differ, and not where they agree."""
    write_run(tmp_path / "a", [make_round(0)])
    write_run(tmp_path / "b", [make_round(0, fingerprint="beef")])
    warning = "were not explained on the same samples"
    page = write_comparison([tmp_path / "a", tmp_path / "b"]).read_text()
    assert warning in page
    differences = [row["differences"][0] for row in unpack(page)["views"][0]["figures"]]
    assert {of["shared"] for of in differences} == {None}
    assert warning not in write_comparison([tmp_path / "a", tmp_path / "a"]).read_text()


def test_classes_are_sorted_by_their_difference(tmp_path: Path) -> None:
    """The largest comes first; each is that of its pairs."""
    (a,) = write_run(tmp_path / "a", [make_round(4)])
    (b,) = write_run(tmp_path / "b", [make_round(4, score=lower)])
    view = unpack(write_comparison([tmp_path / "a", tmp_path / "b"]).read_text())["views"][0]
    for name in ("cat", "dog"):
        pairs = pairs_of(a, b, LOW, name)
        expected = (pairs.second - pairs.first) / sum(pairs)
        assert rows(view, "classes")[name]["differences"][0]["value"] == pytest.approx(expected)
    sizes = [abs(row["differences"][0]["value"]) for row in view["classes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0
