"""`vlmxai agree` with reference masks, against scipy and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats
from sklearn.metrics import f1_score, jaccard_score

from lightning_vlmxai.cli import main
from lightning_vlmxai.records import Round
from lightning_vlmxai.report.agreements import load_agreements
from lightning_vlmxai.report.reader import read_run
from run_folders import make_round, write_run

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def with_references(closed: Round) -> Round:
    """Give the samples of a round reference masks."""
    samples = []
    for s in closed.samples:
        reference = torch.zeros_like(s.explanation.mask, dtype=torch.bool)
        reference[: 1 + s.explanation.probe_index % 5] = True
        samples.append(replace(s, explanation=replace(s.explanation, reference_mask=reference)))
    return replace(closed, samples=tuple(samples))


def test_a_judge_is_held_to_reference_masks(tmp_path: Path, capsys: Out) -> None:
    """Correlations with IoU, Dice, pixel accuracy and F1, which is Dice."""
    closed = with_references(make_round(1, probes=40, side=6))
    write_run(tmp_path, [closed])
    assert main(["agree", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "F1 (is Dice, of binary masks)" in printed
    scored = [s for s in closed.samples if s.verdict.score is not None]
    (kept,) = load_agreements(read_run(tmp_path))
    told = {pair.second: pair.figures for pair in kept.pairs}
    pairs = [
        (
            s.explanation.reference_mask.flatten().numpy(),
            s.explanation.mask.flatten().numpy() >= 0.5,
        )  # type: ignore[union-attr]
        for s in scored
    ]
    scores = [s.verdict.score for s in scored]
    peers = {
        "IoU": [jaccard_score(*p) for p in pairs],
        "Dice": [f1_score(*p) for p in pairs],
        "pixel accuracy": [float((p[0] == p[1]).mean()) for p in pairs],
        "F1 (is Dice, of binary masks)": [f1_score(*p) for p in pairs],
    }
    assert list(told) == [f"reference masks, {name}" for name in peers]
    for name, values in peers.items():
        figures = told[f"reference masks, {name}"]
        assert figures["pearson"].value == pytest.approx(stats.pearsonr(scores, values)[0])
        assert figures["spearman"].value == pytest.approx(stats.spearmanr(scores, values)[0])
