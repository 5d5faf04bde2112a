"""Everything that can go wrong between a picture and its verdict, through real HTTP."""

from __future__ import annotations

import pytest

import fault_table
from fault_rows import PROBES, Result, Row, rows
from lightning_vlmxai.judges.flow import CircuitBreaker


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """Return the whole table, run at once: most rows spend their time waiting."""
    return fault_table.run_all()


def _range_of(row: Row) -> range:
    wanted = row.requests
    return wanted if isinstance(wanted, range) else range(wanted, wanted + 1)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.fault)
def test_fault_has_its_own_outcome(row: Row, results: dict[str, Result]):
    """Each fault ends in its documented outcome, after the documented number of requests."""
    result = results[row.fault]
    assert result.outcomes == {row.outcome: PROBES}
    assert result.requests in _range_of(row)
    # Nobody answers a connection refused, but somebody tried.
    assert result.tries == (2 if row.answer is None else result.requests)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.fault)
def test_every_probe_is_accounted_for(row: Row, results: dict[str, Result]):
    """Judged and unscored add up to what was submitted, and what is unscored says why."""
    verdicts = results[row.fault].verdicts
    judged = [v for v in verdicts if v.score is not None and v.reason is None]
    unscored = [v for v in verdicts if v.score is None and v.reason is not None and v.detail]
    assert len(judged) + len(unscored) == PROBES


def test_table_meets_every_reason_that_stops_a_round():
    """Each reason on which the circuit breaker opens has a row that ends after one request."""
    stopped = {row.outcome for row in rows() if row.requests == 1}
    assert stopped == {reason.value for reason in CircuitBreaker.OPENS_ON} | {"rate_limit"}
