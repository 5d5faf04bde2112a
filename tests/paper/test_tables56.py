"""`examples/paper/tables56_labels.py`."""

from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

import published
import tables56_labels as tables
from label_folders import CLASSES, draw_labels, write_audit

LABELS, P = draw_labels(number=90)
TRUE = np.arange(90) % 3
JUDGED = np.arange(90) % 9 != 8
SCORES = (np.arange(90) * 7) % 11 / 2
FIGURES = (accuracy_score, precision_score, recall_score, f1_score)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, dict[str, list[str]]]]:
    """Return what runs the script on an audit, and gives its output and its rows."""
    monkeypatch.setattr(published.console, "width", 160)
    folder = write_audit(tmp_path / "audit", LABELS, P, ranks=2)

    def run(*given: str) -> tuple[str, dict[str, list[str]]]:
        monkeypatch.setattr(sys, "argv", ["tables56_labels.py", str(folder), *given])
        tables.main()
        told = capsys.readouterr().out
        rows = [
            [cell.strip() for cell in row.split("│")[1:-1]]
            for row in told.splitlines()
            if row.startswith("│")
        ]
        return told, {row[0]: row[1:] for row in rows}

    return run


def expect(given: np.ndarray, true: np.ndarray, kept: np.ndarray) -> list[str]:
    """Return Wrong-High's figures by scikit-learn."""
    flagged = (P.argmax(axis=1) != given) & (SCORES >= 2.5)
    fine, held = (given == true)[kept], ~flagged[kept]
    return [f"{of(fine, held):.3f}" for of in FIGURES]


def test_labels_are_held_against_the_right_ones(
    run: Callable[..., tuple[str, dict[str, list[str]]]], tmp_path: Path
) -> None:
    """Figures are scikit-learn's, of the judged pictures that the file names."""
    lines = [f"pictures/{i:03d}.png,{CLASSES[TRUE[i]]}" for i in range(80)]
    (tmp_path / "truth.csv").write_text("file,label\n" + "\n".join(lines))
    told, rows = run("--truth", str(tmp_path / "truth.csv"))
    kept = JUDGED & (np.arange(90) < 80)
    assert [cell.split()[0] for cell in rows["Wrong-High"][1:]] == expect(LABELS, TRUE, kept)
    assert (
        f"n = {kept.sum()} judged pictures ({90 - kept.sum()} left out), of which wrong: " in told
    )
    assert rows["published, Wrong-High"][1:] == ["0.829", "0.924", "0.864", "0.893"]
    assert "Judge: scripted." in told


def test_a_share_is_exchanged_in_several_draws(
    run: Callable[..., tuple[str, dict[str, list[str]]]],
) -> None:
    """The mean over draws stands between the least and the largest."""
    told, rows = run("--exchange", "0.2", "--seeds", "3")
    draws = [tables.exchange(LABELS, 0.2, seed) for seed in range(3)]
    assert [int((of != LABELS).sum()) for of in draws] == [18] * 3
    values = [[float(v) for v in expect(of, LABELS, JUDGED)] for of in draws]
    for cell, own in zip(rows["Wrong-High"][1:], zip(*values, strict=True), strict=True):
        mean, least, _, largest = cell.replace("(", "").replace(")", "").split()
        assert float(mean) == pytest.approx(np.mean(own), abs=1e-3)
        assert (float(least), float(largest)) == (min(own), max(own))
    assert "means over draws" in told
    assert "Wilson" not in told


def test_another_model_relabels(
    run: Callable[..., tuple[str, dict[str, list[str]]]], tmp_path: Path
) -> None:
    """Its predictions are the labels; those that the audit's labels contradict are wrong."""
    _, other = draw_labels(number=90, seed=5)
    folder = write_audit(tmp_path / "other", LABELS, other)
    told, rows = run("--relabel", str(folder))
    given = other.argmax(axis=1)
    assert [cell.split()[0] for cell in rows["Wrong-High"][1:]] == expect(given, LABELS, JUDGED)
    assert rows["published, Wrong-High"][1:] == ["0.828", "0.843", "0.932", "0.885"]
    assert f"of which wrong: {(given != LABELS)[JUDGED].sum()}." in told


def test_a_model_can_not_judge_its_own_labels(
    run: Callable[..., tuple[str, dict[str, list[str]]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said, with what to do."""
    with pytest.raises(SystemExit) as ended:
        run("--relabel", str(tmp_path / "audit"))
    assert ended.value.code == 2
    assert "audit the data with a second model" in capsys.readouterr().err


def test_truth_of_unknown_classes_is_refused(
    run: Callable[..., tuple[str, dict[str, list[str]]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never taken for a wrong label."""
    (tmp_path / "truth.csv").write_text("file,label\npictures/000.png,ca\n")
    with pytest.raises(SystemExit):
        run("--truth", str(tmp_path / "truth.csv"))
    assert "got ca in" in capsys.readouterr().err


def test_figures_without_a_denominator_are_none() -> None:
    """Where all is flagged there is no precision."""
    counts = tables.count(np.ones(4, bool), np.array([True, True, False, False]))
    assert tables.show("precision", [counts]) == "-"
    assert tables.show("accuracy", [counts]).startswith("0.500 (")
    assert doctest.testmod(tables).failed == 0
