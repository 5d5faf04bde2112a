"""Reads a run folder, however old, incomplete or cut off, into plain records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected
from .costs import add_known, total_calls
from .lines import Reading, Texts, read_sample
from .run import STAGES, Run, RunRound, RunSample
from .text import one_line, visible
from .values import number as _number
from .values import text as _text
from .values import whole as _whole

RUN_FILES = ("run.json", "rounds.jsonl", "samples.jsonl")
"""Any of these makes a folder a run folder."""
_CALLS = "judge_calls.jsonl"
_ANSWERS = "answers.jsonl"
_OF_RANK = re.compile(r"samples-([1-9][0-9]*)\.jsonl")

_Key = tuple[str, int]
_Samples = dict[int, dict[int | None, RunSample]]


def read_calls(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a run folder's log of calls; none where there is no log."""
    yield from Reading(path).lines(_CALLS)


def is_run_dir(path: Path) -> bool:
    """Return whether a folder holds a run."""
    return any((path / name).is_file() for name in RUN_FILES)


def find_run_dir(path: Path) -> Path:
    """Return the run folder that a path names: itself, or the newest `vlmxai` folder in it.

    Raises:
        ConfigurationError: If there is none.
    """
    if is_run_dir(path):
        return path
    inside = [folder for folder in path.glob("vlmxai*") if is_run_dir(folder)]
    if inside:
        return max(inside, key=_last_change)
    raise ConfigurationError(
        expected(
            "run",
            f"a folder with {', '.join(RUN_FILES)}",
            f"{str(path)!r}, which {'holds none of them' if path.is_dir() else 'is no folder'}",
            "Pass the vlmxai folder beside the run's logs; the callback names it at the start",
        )
    )


def _last_change(folder: Path) -> float:
    return max((folder / name).stat().st_mtime for name in RUN_FILES if (folder / name).exists())


def read_run(path: Path) -> Run:
    """Return what a run folder holds; what is missing or broken becomes a notice, not an error.

    Of a fit, the last lines of a (stage, round, probe) stand, where a resumed run wrote a round
    again. Of an audit the files of all ranks are read, then `answers.jsonl`, and a (stage, round,
    probe, part) counts once: a scored line is never replaced by an unscored one, else the later
    one stands.

    Args:
        path: Of the run folder.
    """
    reading = Reading(path)
    settings = reading.settings()
    ranks = _list_ranks(path)
    kind = settings.get("kind")
    is_audit = kind == "audit" or (kind is None and (len(ranks) > 1 or (path / _ANSWERS).is_file()))
    told = _number(settings.get("threshold"))
    threshold = 2.5 if told is None else told
    read = _read_audit if is_audit else _read_fit
    samples = read(reading, ranks, threshold)
    heads, order = _heads(reading)
    for line in reading.lines("late.jsonl"):
        _add_late(line, samples)
    unended = sorted(samples.keys() - heads.keys(), key=_rank)
    for key in unended:
        heads[key] = {}
    rounds = tuple(
        _round(key, heads[key], samples.get(key, {}), is_audit=is_audit)
        for key in sorted(heads, key=_rank)
    )
    if is_audit:
        _note_unended(reading, rounds, unended)
    else:
        _note_gaps(reading, rounds, order, unended)
    shortcuts = reading.record("shortcuts.json")
    return Run(
        path=path,
        settings=settings,
        rounds=rounds,
        calls=total_calls(reading.lines(_CALLS)) if (path / _CALLS).is_file() else None,
        gates=tuple(reading.lines("gate.jsonl")),
        notices=tuple(reading.notices),
        is_audit=is_audit,
        shortcuts=shortcuts,
    )


def _list_ranks(path: Path) -> dict[int, str]:
    """Return the files of samples that ranks wrote, by rank."""
    found = {0: "samples.jsonl"}
    for file in path.glob("samples-*.jsonl"):
        match = _OF_RANK.fullmatch(file.name)
        if match:
            found[int(match.group(1))] = file.name
    return dict(sorted(found.items()))


def _read_fit(reading: Reading, ranks: dict[int, str], threshold: float) -> dict[_Key, _Samples]:
    samples: dict[_Key, _Samples] = {}
    last: RunSample | None = None
    texts: Texts = {}
    for line in reading.lines(ranks[0]):
        sample = read_sample(line, threshold, texts=texts)
        of_probe = samples.setdefault((sample.stage, sample.number), {})
        if last is None or not _is_beside(last, sample):
            of_probe[sample.probe] = {}  # a probe's lines stand together: these are written anew
        of_probe[sample.probe][sample.part] = last = sample
    return samples


def _read_audit(reading: Reading, ranks: dict[int, str], threshold: float) -> dict[_Key, _Samples]:
    samples: dict[_Key, _Samples] = {}
    texts: Texts = {}
    for rank, name in [*ranks.items(), (None, _ANSWERS)]:
        for line in reading.lines(name):
            new = read_sample(line, threshold, rank=rank, texts=texts)
            of_probe = samples.setdefault((new.stage, new.number), {})
            parts = of_probe.setdefault(new.probe, {})
            old = parts.get(new.part)
            if old is None:
                parts[new.part] = new
            elif new.score is None and old.score is not None:
                parts[new.part] = _complete(old, new)
            else:
                parts[new.part] = _complete(new, old)
    return samples


def _complete(sample: RunSample, other: RunSample) -> RunSample:
    """Return a sample with what only another line has: row, pictures, groups, and its own cost."""
    sample = replace(
        sample,
        calls=sample.calls + other.calls,
        tokens=sample.tokens + other.tokens,
        cost_usd=add_known([sample.cost_usd, other.cost_usd]),
    )
    if sample.row is None and other.row is not None:
        sample = replace(sample, row=other.row, rank=other.rank)
    if not sample.image and other.image:
        pictures = {name: getattr(other, name) for name in _PICTURES}
        sample = replace(sample, **pictures)
    return sample if sample.groups or not other.groups else replace(sample, groups=other.groups)


_PICTURES = ("image", "saliency", "picture", "reference_mask")


def _is_beside(last: RunSample, sample: RunSample) -> bool:
    """Return whether a line is of the same probe, round and writing as the last one."""
    mine, other = (
        (s.stage, s.number, s.fingerprint, s.probe, s.part is None) for s in (last, sample)
    )
    return mine == other and last.part != sample.part


def _heads(reading: Reading) -> tuple[dict[_Key, dict[str, Any]], list[_Key]]:
    heads: dict[_Key, dict[str, Any]] = {}
    order: list[_Key] = []
    for line in reading.lines("rounds.jsonl"):
        key = (_text(line.get("stage")) or "fit", _whole(line.get("number")) or 0)
        heads[key] = line
        order.append(key)
    return heads, order


def _rank(key: _Key) -> tuple[int, str, int]:
    stage, number = key
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage, number)


def _round(key: _Key, head: dict[str, Any], of_probe: _Samples, *, is_audit: bool) -> RunRound:
    # An audit's is known at its end: of the pictures that it came to, in whatever order.
    fingerprint = _text(head.get("fingerprint") or (head.get("pictures") if is_audit else ""))
    # A resumed run may have had other probes: those of the round's last line count.
    samples = tuple(
        sample
        for probe in sorted(of_probe)
        for sample in _in_order(of_probe[probe], is_audit=is_audit)
        if is_audit or not fingerprint or sample.fingerprint in ("", fingerprint)
    )
    known = {"number", "epoch", "step", "judged", "probes"}
    return RunRound(
        stage=key[0],
        number=key[1],
        epoch=_whole(head.get("epoch")),
        step=_whole(head.get("step")),
        fingerprint=fingerprint or (samples[-1].fingerprint if samples else ""),
        probes=_whole(head.get("probes")) or len(samples),
        metrics={
            "judged": float(_whole(head.get("judged")) or 0),
            **{
                name: value
                for name in head.keys() - known
                if (value := _number(head[name])) is not None
            },
        },
        samples=samples,
    )


def _in_order(parts: dict[int | None, RunSample], *, is_audit: bool) -> list[RunSample]:
    """Return a probe's explanations: an audit's by part, for they come in any order."""
    if not is_audit or len(parts) < 2:
        return list(parts.values())
    return sorted(parts.values(), key=lambda s: (s.part is not None, s.part or 0))


def _add_late(line: dict[str, Any], samples: dict[_Key, _Samples]) -> None:
    late = read_sample(line, 2.5)
    of_probe = samples.get((late.stage, late.number), {})
    own = of_probe.get(late.probe, {}).get(late.part)
    if own is not None and own.score is None and late.score is not None:
        of_probe[late.probe][late.part] = replace(
            own,
            late_score=late.score,
            evaluation=late.evaluation,
            justification=late.justification,
            attends_to=late.attends_to,
            asked=late.asked,
        )


def _note_gaps(
    reading: Reading, rounds: tuple[RunRound, ...], order: list[_Key], unended: list[_Key]
) -> None:
    if not rounds:
        reading.notices.append("No round has been written yet.")
    elif not any(r.samples for r in rounds):
        reading.notices.append("samples.jsonl is missing or empty: only the rounds' figures stand.")
    if rounds and not order:
        reading.notices.append("rounds.jsonl is missing or empty: rounds were found by samples.")
    for of in rounds if order else ():
        if (of.stage, of.number) in unended:
            reading.notices.append(
                f"Round {visible(of.key, 40)} has no line in rounds.jsonl, as where its writing "
                f"was cut short: its figures are of the {len(of.samples)} samples that are there."
            )
    for stage in {key[0] for key in order}:
        numbers = [number for name, number in order if name == stage]
        left = sorted({n for n in numbers if n > numbers[-1]})
        if left:
            reading.notices.append(
                f"Rounds {left[0]} to {left[-1]} of the {visible(stage, 40)} were written before "
                f"the run was resumed; the resumed run has come to round {numbers[-1]}."
            )


def _note_unended(reading: Reading, rounds: tuple[RunRound, ...], unended: list[_Key]) -> None:
    if not rounds:
        reading.notices.append("No sample has been judged yet.")
    skipped = {
        (_whole(line.get("index")), _text(line.get("file"))): line
        for file in sorted(reading.path.glob("skipped*.jsonl"))
        for line in reading.lines(file.name)
    }
    if skipped:
        named = ", ".join(one_line(file) for _, file in list(skipped)[:3])
        more = ", ..." if len(skipped) > 3 else ""
        reading.notices.append(
            f"Pictures that can't be read, and are in no figure: {len(skipped):,} ({named}{more})."
        )
    for of in rounds:
        missing = int(of.metrics.get("missing", 0))
        if missing:
            reading.notices.append(
                f"{missing:,} rows ({visible(of.stage, 40)}) could not be explained: they count as "
                "unscored."
            )
        # More than it closed with: it was gone on with, over more data.
        is_grown = len(of.samples) + missing > of.probes
        if is_grown or (of.stage, of.number) in unended:
            reading.notices.append(
                f"The audit ({visible(of.stage, 40)}) has not come to its end: the figures are "
                f"those of the {len(of.samples):,} samples that it has come to."
            )
        elif not of.samples:
            reading.notices.append(
                f"No file of samples is left of the audit ({visible(of.stage, 40)}): only its own "
                "figures stand."
            )
