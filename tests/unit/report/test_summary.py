"""The table in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lightning_vlmxai.report import print_summary
from lightning_vlmxai.rounds.quadrants import wilson_interval
from run_folders import ROUNDS, SILENT, count, make_round, write_run


def summarize(run_dir: Path, encoding: str = "utf-8", **options: object) -> str:
    """Return what is printed to a log."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_summary(run_dir, console=Console(file=file, width=100), **options)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)


def test_rates_intervals_and_changes_are_printed(tmp_path: Path) -> None:
    """Against the samples, counted one by one."""
    rounds = write_run(tmp_path)
    text = summarize(tmp_path)
    first, last = count(rounds[0]), count(rounds[-1])
    judged = sum(last.values())
    for key, name in (("correct_high", "Correct-High"), ("correct_low", "Correct-Low")):
        (row,) = [line for line in text.splitlines() if name in line and "of" not in line]
        ends = wilson_interval(last[key], judged)
        rate = last[key] / judged
        change = rate - first[key] / sum(first.values())
        for said in (f"{rate:.2f}", f"{ends.lower:.2f} to {ends.upper:.2f}", f"{change:+.2f}"):
            assert said in row
    assert f"fit round {ROUNDS - 1}, {judged} of 12 probes judged" in text
    assert "Look closer: vlmxai report" in text


def test_the_worst_classes_are_named_with_their_counts(tmp_path: Path) -> None:
    """Only those that have any Correct-Low."""
    (closed,) = write_run(tmp_path, [make_round(4, score=lambda *_: 1.0)])
    own = count(closed, "cat")
    assert own["correct_low"] == 3
    assert "cat: 3 of 4 Correct-Low (0.75)" in summarize(tmp_path)
    write_run(tmp_path, [make_round(5, score=lambda *_: 5.0)])
    assert "Correct-Low (" not in summarize(tmp_path)


def test_cost_and_reasons_are_printed(tmp_path: Path) -> None:
    """Of all rounds of the stage."""
    rounds = write_run(tmp_path)
    samples = [s for closed in rounds for s in closed.samples]
    text = summarize(tmp_path)
    assert f"{sum(s.verdict.usage.calls for s in samples)} calls" in text
    assert "12 deadline" in text
    assert f"Cost of {ROUNDS} rounds" in text


def test_hostile_names_are_plain_text(tmp_path: Path) -> None:
    """Neither rich's markup nor escape codes nor direction marks act."""
    names = ("[red]cat[/red]\x1b[2J\u202e", "[/]", "c")
    closed = make_round(4, score=lambda *_: 1.0)
    for sample, name in zip(closed.samples, names * 4, strict=True):
        object.__setattr__(sample.explanation, "label_name", name)
    write_run(tmp_path, [closed])
    text = summarize(tmp_path)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]cat[/red]␛[2J⟨U+202E⟩:" in text
    assert "[/]:" in text


def test_a_log_in_ascii_is_written(tmp_path: Path) -> None:
    """Characters that it lacks become question marks."""
    closed = make_round(4, score=lambda *_: 1.0)
    for sample in closed.samples:
        object.__setattr__(sample.explanation, "label_name", "Käse")
    write_run(tmp_path, [closed])
    assert "K?se: " in summarize(tmp_path, "ascii")


def test_nothing_judged_is_said(tmp_path: Path) -> None:
    """An empty folder, and a run whose judge never answered, have no rates."""
    assert "no round has been written" in summarize(tmp_path)
    write_run(tmp_path, [make_round(SILENT)])
    text = summarize(tmp_path, report=tmp_path / "report.html")
    assert "no sample was judged" in text
    assert "0.00" not in text.replace("$0.00", "")
    assert f"Look closer: {tmp_path / 'report.html'}" in text


def test_validate_has_its_own_table(tmp_path: Path) -> None:
    """Rounds of other stages don't count."""
    write_run(tmp_path, [make_round(0), make_round(1, stage="validate")])
    assert "validate round 1" in summarize(tmp_path, stage="validate")


def test_an_unknown_price_is_not_nothing(tmp_path: Path) -> None:
    """Where no call's price is known none is printed; where some are, their sum and the rest."""
    write_run(tmp_path)
    path = tmp_path / "samples.jsonl"
    text = path.read_text().replace('"cost_usd": 0.001', '"cost_usd": null')
    assert text != path.read_text()
    path.write_text(text)
    assert "unknown price" in summarize(tmp_path)
    assert "$0" not in summarize(tmp_path)
