"""Everything that can go wrong between a picture and its verdict, through real HTTP."""

from __future__ import annotations

import pytest

import fault_table
from fault_kinds import PROBES, Result, Row
from fault_rows import rows
from fault_table import all_rows, told
from lightning_vlmxai.judges.flow import CircuitBreaker


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """Return the whole table, run at once: most rows spend their time waiting."""
    return fault_table.run_all()


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_fault_has_its_own_outcome(row: Row, results: dict[str, Result]):
    """Each fault ends in its documented outcome, after the documented number of requests."""
    result = results[row.name]
    assert result.outcomes == {row.outcome: PROBES}
    assert result.requests in row.allowed
    # Nobody answers a connection refused, but somebody tried.
    assert result.tries == (2 if row.answer is None else result.requests)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_every_probe_is_accounted_for(row: Row, results: dict[str, Result]):
    """Judged and unscored add up to what was submitted, and what is unscored says why."""
    verdicts = results[row.name].verdicts
    judged = [v for v in verdicts if v.score is not None and v.reason is None]
    unscored = [v for v in verdicts if v.score is None and v.reason is not None and v.detail]
    assert len(judged) + len(unscored) == PROBES


@pytest.mark.parametrize("row", [row for row in all_rows() if row.told], ids=lambda row: row.name)
def test_what_is_told_fits_the_fault(row: Row, results: dict[str, Result]):
    """The words that a server's fault is told with name it, or the way out."""
    assert row.told in told(results[row.name])


def test_faults_of_the_set_up_end_the_rehearsal(results: dict[str, Result]):
    """Each row whose probes all fail for one cause that every later call would meet."""
    passing = {"timeout", "rate_limit", "server_error", "truncated", "empty_answer", "broken_json"}
    of_pictures = {"content_filter", "refusal", "out_of_range", "unparseable"}
    ends = {
        row.name: results[row.name].verdicts[0].reason.is_setup_fault
        for row in all_rows()
        if not row.outcome[0].isdigit() and row.outcome not in passing | of_pictures
    }
    assert len(ends) > 50
    assert {name for name, does_end in ends.items() if not does_end} == set()


def test_the_table_is_as_long_as_is_said():
    """At least 110 rows, each with a name of its own."""
    names = [row.name for row in all_rows()]
    assert len(set(names)) == len(names) >= 110


def test_table_meets_every_reason_that_stops_a_round():
    """Each reason on which the circuit breaker opens has a row that ends after one request."""
    stopped = {row.outcome for row in rows() if row.requests == 1}
    assert stopped == {reason.value for reason in CircuitBreaker.OPENS_ON} | {"rate_limit"}
