"""What a run's rounds come to, in sentences that say no more than chance allows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ..records import Quadrant
from .groups import SURE, Share, stand_out
from .paired import holm, mcnemar_p
from .quadrants import Interval, wilson_interval

FEW = 5
"""Judged probes of a class; with fewer hardly any difference is more than chance."""
MAX_CLASSES = 4
"""Classes that one sentence names."""


class Outcome(NamedTuple):
    """What became of one explained sample.

    Args:
        place: Index of the probe, and which of its explanations it is.
        label: Name of the true class.
        is_correct: Whether it was predicted right; None where this is not known.
        quadrant: None where it was not judged.
        reason: Why not.
        is_partly: The kept region lies on the object and covers little of it; see
            `trust.say_partly`.
        is_high: Whether the score is High; None where it was not judged.
    """

    place: tuple[int, int | None]
    label: str
    is_correct: bool | None
    quadrant: Quadrant | None
    reason: str = ""
    is_partly: bool = False
    is_high: bool | None = None

    @property
    def is_low(self) -> bool:
        """Whether it is right for the wrong reason."""
        return self.quadrant is Quadrant.CORRECT_LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """A round as findings see it: `number`, `epoch` and `fingerprint` are those of `Round`.

    An audit (`is_audit`) has one: its sentences name no epoch. `low` is the Correct-Low rate
    (without labels that of the Low) with its interval where that is an estimate, as `kept` verdicts
    are of earlier rounds; classes and moves are then told by the verdicts as they stand, in which a
    change is never made up. Where the judge answered nothing (`is_out`) these say nothing of the
    round.
    """

    stage: str
    number: int
    epoch: int | None
    fingerprint: str
    samples: tuple[Outcome, ...]
    is_audit: bool = False
    low: tuple[float, Interval] | None = None
    kept: int = 0
    is_out: bool = False

    @property
    def judged(self) -> list[Outcome]:
        """The samples with a score; none where all of these are of earlier rounds."""
        return [s for s in self.samples if s.quadrant is not None and not self.is_out]

    @property
    def accuracy(self) -> float | None:
        """Over all explained samples, the unscored among them; None where none is known."""
        return _mean(s.is_correct for s in self.samples if s.is_correct is not None)

    @property
    def when(self) -> str:
        """The round's epoch, in words."""
        if self.is_audit:
            return f"the audit ({self.stage})"
        return f"round {self.number}" if self.epoch is None else f"epoch {self.epoch}"

    @property
    def in_when(self) -> str:
        """The same where a sentence goes on; empty of an audit."""
        return "" if self.is_audit else f" in {self.when}"


class Finding(NamedTuple):
    """A sentence, and what it is about.

    Args:
        text: The sentence.
        label: The class to look at; None if it is about all.
        is_alarm: Whether it tells of right answers for the wrong reason beyond chance.
        number: Of the round in which there is something to look at.
    """

    text: str
    label: str | None = None
    is_alarm: bool = False
    number: int | None = None


def find(rounds: Iterable[Outcomes]) -> list[Finding]:
    """Return what rounds come to, the most important first; the last judged one is told.

    A class *stands out* where its Correct-Low rate (of an audit: of its right answers) is higher
    than that of the other classes of its round (Fisher's exact test), and a rate *moved* where the
    same probes changed since the first judged round or since the one before (McNemar's, exact
    below 25; of a class's rise, which is what is watched for, one-sided). p-values are corrected
    (Holm) for all classes that were looked at together in a round, not for how many rounds there
    are.

    Args:
        rounds: Of one stage, in order. Those of other probes than the last one's are left out.

    Example:
        >>> find([])[0].text
        'No round has been explained yet.'
    """
    every = list(rounds)
    if not every:
        return [Finding("No round has been explained yet.")]
    judged = [of for of in every if of.judged and of.fingerprint == every[-1].fingerprint]
    if not judged:
        return [_say_unlabelled(every[-1]) or _say_unjudged(every[-1])]
    now = judged[-1]
    stands = _stand_out(judged)
    moves = _find_moves(judged, {label for label, _ in stands})
    found = [Finding(text, label, True, now.number) for label, text in stands[:MAX_CLASSES]]
    found += moves[:MAX_CLASSES]
    more = len(stands) + len(moves) - len(found)
    overall = _say_overall(judged)
    found = [*found, overall] if found else [overall]
    if more > 0:
        who = "1 more class stands" if more == 1 else f"{more} more classes stand"
        moved = "" if len(judged) == 1 else " or moved"
        found.append(Finding(f"{who} out{moved}: see the table of classes."))
    found.append(Finding(_say_rest(judged, is_all=not (stands or moves))))
    if now is not every[-1]:
        found.append(_say_unjudged(every[-1]))
    return found


def _say_unjudged(of: Outcomes) -> Finding:
    if not of.samples:
        return Finding(f"Nothing could be explained in {of.when}.")
    kept = "kept" if of.is_out else "unknown"
    reasons = Counter(s.reason or kept for s in of.samples).most_common(3)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return Finding(f"No sample of {of.when} was judged ({told}): nothing can be said of it.")


def _say_unlabelled(of: Outcomes) -> Finding | None:
    """Return what scores tell without a label; None where there is none."""
    highs = [s.is_high for s in of.samples if s.is_high is not None and not of.is_out]
    if not highs:
        return None
    low, total = len(highs) - sum(highs), len(highs)
    unknown = "There are no labels: which of the predictions are right is not known."
    if of.low is not None:
        return Finding(
            "The share of predictions that rest on something else than the thing they name is "
            f"estimated ({_say_ends(*of.low)}; {of.kept} of {total} verdicts are of earlier "
            f"rounds). {unknown}"
        )
    return Finding(
        f"{low:,} of {total:,} predictions rest on something else than the thing they name "
        f"({_say_rate(low, total)}). {unknown}"
    )


def _say_rate(count: int, total: int) -> str:
    """Return a rate with its interval, to as many digits as tell its ends apart."""
    return _say_ends(count / total, wilson_interval(count, total))


def _say_ends(rate: float, ends: Interval) -> str:
    places = 2 if ends.upper - ends.lower > 0.02 else 3
    return f"{rate:.{places}f}, 95 % {ends.lower:.{places}f} to {ends.upper:.{places}f}"


class _Count(NamedTuple):
    """Correct-Low samples of a class, those of them that are partly attended, and the judged."""

    low: int
    partly: int
    total: int

    @property
    def reason(self) -> str:
        """What they are: where most lie on the object, no wrong reason was measured."""
        return (
            "right for the wrong reason"
            if self.partly * 2 <= self.low
            else "right with little attended"
        )

    @property
    def part(self) -> str:
        """A further sentence on those that are partly attended."""
        if not self.partly:
            return ""
        return (
            f" In {self.partly} of these what is kept lies on the object and covers little of it."
        )


def _count(samples: Sequence[Outcome]) -> _Count:
    return _Count(
        sum(s.is_low for s in samples),
        sum(s.is_low and s.is_partly for s in samples),
        len(samples),
    )


def _by_class(samples: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    members: defaultdict[str, list[Outcome]] = defaultdict(list)
    for sample in samples:
        members[sample.label].append(sample)
    return members


def _outstanding(of: Outcomes) -> dict[str, _Count]:
    """Return the Correct-Low counts of the classes that stand out in a round.

    Of an audit they are of the right answers: over many samples a class that is right more often
    has more Correct-Low than others by that alone.
    """
    held = [s for s in of.judged if s.is_correct] if of.is_audit else of.judged
    counts = {name: _count(own) for name, own in _by_class(held).items()}
    tested = stand_out({"": {name: Share(c.low, c.total) for name, c in counts.items()}})[""]
    return {name: count for name, count in counts.items() if tested[name][1]}


def _stand_out(judged: Sequence[Outcomes]) -> list[tuple[str, str]]:
    """Return the classes that stand out in the last round, and since when they do so."""
    now, said = judged[-1], []
    over = {len(judged) - 1: _outstanding(now)}
    for name, count in sorted(over[len(judged) - 1].items(), key=_by_rate):
        what = count.reason
        if now.is_audit:
            what = f"right answers are {what.removeprefix('right ')}"
        since = len(judged) - 1
        while since:
            if since - 1 not in over:
                over[since - 1] = _outstanding(judged[since - 1])
            if name not in over[since - 1]:
                break
            since -= 1
        first = judged[since]
        if first is now:
            when = now.in_when
        else:
            then = over[since][name]
            when = (
                f" in {now.when}, and standing out since {first.when} ({then.low} of {then.total})"
            )
        said.append(
            (
                name,
                f"{_show(name)}: {count.low} of {count.total} {what}{when}.{count.part}",
            )
        )
    return said


def _by_rate(item: tuple[str, _Count]) -> float:
    return -item[1].low / item[1].total


def _show(name: str) -> str:
    """Return a class's name on one short line."""
    line = " ".join(name.split())
    return (line if len(line) <= 60 else f"{line[:59]}…") or "(no name)"


def _find_moves(judged: Sequence[Outcomes], told: set[str]) -> list[Finding]:
    """Return the classes whose Correct-Low moved, other than those that are told already."""
    now, found = judged[-1], {}
    for then in dict.fromkeys((id(judged[0]), id(judged[-2]))) if len(judged) > 1 else ():
        before = judged[0] if then == id(judged[0]) else judged[-2]
        known = {s.place: s for s in before.judged}
        pairs = [(known[s.place], s) for s in now.judged if s.place in known]
        members: defaultdict[str, list[tuple[Outcome, Outcome]]] = defaultdict(list)
        for pair in pairs:
            members[pair[1].label].append(pair)
        values = [_rise_p(*_parted(own)) for own in members.values()]
        for (name, own), p in zip(members.items(), holm(values), strict=True):
            if p <= SURE and name not in told:
                was, is_now = (_count([pair[i] for pair in own]) for i in (0, 1))
                is_rise = is_now.low > was.low
                seen, told_of = (now, is_now) if is_rise else (before, was)
                text = (
                    f"{_show(name)}: from {was.low} to {is_now.low} of {len(own)} {told_of.reason} "
                    f"between {before.when} and {now.when}.{is_now.part if is_rise else ''}"
                )
                found[name] = Finding(text, name, is_rise, seen.number)
    return sorted(found.values(), key=lambda finding: not finding.is_alarm)


def _rise_p(lost: int, won: int) -> float:
    """Return McNemar's p-value: one-sided of a rise, which is what is watched for."""
    p = mcnemar_p(lost, won)
    return p / 2 if won > lost else p


def _parted(pairs: Iterable[tuple[Outcome, Outcome]]) -> tuple[int, int]:
    """Return how many probes were Correct-Low in the first only, and in the second only."""
    counts = Counter((a.is_low, b.is_low) for a, b in pairs)
    return counts[True, False], counts[False, True]


def _say_overall(judged: Sequence[Outcomes]) -> Finding:
    first, now = judged[0], judged[-1]
    low, total = sum(s.is_low for s in now.judged), len(now.judged)
    text = f"Correct-Low is {low:,} of {total:,}{now.in_when} ({_say_rate(low, total)})"
    if now.low is not None:
        text = (
            f"Correct-Low is estimated{now.in_when} ({_say_ends(*now.low)}; {now.kept} of {total} "
            "verdicts are of earlier rounds)"
        )
    if now.accuracy is not None:
        text += f" at an accuracy of {now.accuracy:.2f}"
    known = sum(bool(s.is_correct) for s in now.judged)
    if now.is_audit and known:
        text += f"; of the {known:,} right answers {low:,} are Low ({_say_rate(low, known)})"
    if first is now or first.accuracy is None or now.accuracy is None:
        return Finding(f"{text}.")
    rate = _move(first, now, lambda s: None if s.quadrant is None else s.is_low)
    right = _move(first, now, lambda s: s.is_correct)
    then = sum(s.is_low for s in first.judged) / len(first.judged)
    if first.low is not None:
        then = first.low[0]
    return Finding(
        f"{text}. In {first.when} it was {then:.2f} at {first.accuracy:.2f}: Correct-Low {rate}, "
        f"accuracy {right}.",
        is_alarm=rate == _ROSE,
        number=now.number,
    )


_ROSE, _FELL, _CHANCE = "rose", "fell", "moved no more than by chance"


def _move(first: Outcomes, now: Outcomes, has: Callable[[Outcome], bool | None]) -> str:
    """Return whether the same probes came to have a property, or lost it, beyond chance."""
    known = {s.place: has(s) for s in first.samples}
    pairs = Counter((known.get(s.place), has(s)) for s in now.samples)
    lost, won = pairs[True, False], pairs[False, True]
    if mcnemar_p(lost, won) > SURE:
        return _CHANCE
    return _ROSE if won > lost else _FELL


def _say_rest(judged: Sequence[Outcomes], *, is_all: bool) -> str:
    classes = _by_class(judged[-1].judged)
    who = "No class" if is_all else "Nothing else"
    text = f"{who} stands out{' or moved' if len(judged) > 1 else ''} beyond chance"
    middle = median(len(own) for own in classes.values())
    if len(classes) > 1 and middle < FEW:
        what = "samples" if judged[-1].is_audit else "probes"
        remedy = (
            "audit more samples"
            if judged[-1].is_audit
            else "raise `probe_size`, or name `watch_classes`"
        )
        text += (
            f", and with {middle:g} judged {what} a class (median) little could be seen: {remedy}"
        )
    return f"{text}."


def _mean(values: Iterable[bool]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
