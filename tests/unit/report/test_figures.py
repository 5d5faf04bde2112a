"""The figures of a report, against samples counted one by one."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.report.figures import (
    Figures,
    add_costs,
    count_classes,
    count_round,
)
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.rounds.quadrants import quadrant_metrics
from run_folders import CLASSES, PROBES, SILENT, count, write_run

LOW = Quadrant.CORRECT_LOW


def test_a_rounds_figures_are_those_that_were_logged(tmp_path: Path) -> None:
    """Rates, interval, score, coverage and drift agree with the round's own metrics."""
    for closed, of in zip(write_run(tmp_path), read_run(tmp_path).rounds, strict=True):
        figures, metrics = count_round(of), closed.metrics
        for quadrant in Quadrant:
            assert figures.rate(quadrant) == metrics.get(f"{quadrant.value}_rate")
        assert figures.average_score == metrics.get("average_score")
        assert figures.coverage == metrics["coverage"]
        assert figures.attention_drift == metrics.get("attention_drift")
        ends = figures.interval(LOW)
        if closed.number == SILENT:
            assert ends is None
        else:
            assert ends == (metrics["correct_low_rate_lower"], metrics["correct_low_rate_upper"])


def test_classes_are_counted_apart_worst_first(tmp_path: Path) -> None:
    """Each true class has its own denominator."""
    closed = write_run(tmp_path)[-1]
    classes = count_classes(read_run(tmp_path).rounds[-1].samples)
    assert len(classes) == len(CLASSES)
    rates = [figures.rate(LOW) or 0.0 for figures in classes.values()]
    assert rates == sorted(rates, reverse=True)
    for name in CLASSES[:2]:
        own = [s for s in closed.samples if s.explanation.label_name == name]
        assert {q.value: classes[name].counts[q] for q in Quadrant} == count(closed, name)
        assert classes[name].average_score == quadrant_metrics(own)["average_score"]


def test_costs_are_added_up(tmp_path: Path) -> None:
    """Reused and cached answers took no time of the judge's."""
    closed = write_run(tmp_path)[0]
    cost = add_costs(read_run(tmp_path).rounds[0].samples)
    verdicts = [s.verdict for s in closed.samples]
    assert cost.calls == sum(v.usage.calls for v in verdicts)
    assert cost.tokens == sum(v.usage.tokens for v in verdicts)
    assert cost.cost_usd == pytest.approx(sum(v.usage.cost_usd or 0 for v in verdicts))
    assert (cost.cached, cost.reused, cost.unpriced) == (1, 1, 0)
    assert cost.reasons == {"timeout": sum(v.score is None for v in verdicts)}
    asked = [v.latency_s for v in verdicts if not v.is_cached and not v.is_reused]
    assert cost.median_latency_s == statistics.median_low(asked)
    assert cost.slow_latency_s == max(asked)
    assert len(verdicts) == PROBES


def figures_of(low: int, total: int) -> Figures:
    """Return figures with so many Correct-Low among so many judged."""
    counts = {LOW: low, Quadrant.CORRECT_HIGH: total - low}
    return Figures(probes=total, counts=counts, average_score=None)
