"""Two runs on one page."""

from __future__ import annotations

import re
from pathlib import Path

from lightning_vlmxai.report import write_comparison
from run_folders import PROBES, count, make_round, score_of, unpack, write_run


def lower(probe: int, number: int) -> float | None:
    """Return the scores of a run that attends to the object less often."""
    score = score_of(probe, number)
    return None if score is None else max(0.0, score - 2)


def test_differences_are_those_of_the_counts(tmp_path: Path) -> None:
    """The last judged rounds are compared; B ended a round earlier."""
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", [make_round(n, score=lower) for n in range(4)], alpha=5.0)
    text = write_comparison(tmp_path / "a", tmp_path / "b").read_text()
    first, second = count(a[-1]), count(b[-1])
    for key in first:
        difference = second[key] / sum(second.values()) - first[key] / sum(first.values())
        said = f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}")
        assert re.search(rf'class="cell {key}[^>]*>.*?class="value">{re.escape(said)}<', text, re.S)
    assert "A: fit 4, B: fit 3." in text


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    """Those that only one run has among them."""
    write_run(tmp_path / "a", [make_round(0)])
    write_run(tmp_path / "b", [make_round(0)], alpha=5.0, seed=3)
    text = write_comparison(tmp_path / "a", tmp_path / "b").read_text()
    (table,) = re.findall(r'id="settings">(.*?)</table>', text, re.S)
    rows = re.findall(r"<bdi>(.*?)</bdi>", table)
    assert rows == ["alpha", "15", "5", "seed", "\N{EN DASH}", "3"]


def test_probes_whose_quadrant_differs_are_shown(tmp_path: Path) -> None:
    """Those that both runs judged, and no others."""
    (a,) = write_run(tmp_path / "a", [make_round(4)])
    (b,) = write_run(tmp_path / "b", [make_round(4, score=lower)])
    data = unpack(write_comparison(tmp_path / "a", tmp_path / "b").read_text())
    expected = [
        one.explanation.probe_index
        for one, other in zip(a.samples, b.samples, strict=True)
        if one.quadrant is not None and other.quadrant is not None
        if one.quadrant is not other.quadrant
    ]
    assert 0 < len(expected) < PROBES
    assert data["tables"][0]["samples"]["probe"] == expected
    assert data["tables"][1]["samples"]["probe"] == expected


def test_other_samples_are_said_loudly(tmp_path: Path) -> None:
    """Where fingerprints differ, and not where they agree."""
    write_run(tmp_path / "a", [make_round(0)])
    write_run(tmp_path / "b", [make_round(0, fingerprint="beef")])
    warning = "were not explained on the same samples"
    assert warning in write_comparison(tmp_path / "a", tmp_path / "b").read_text()
    assert warning not in write_comparison(tmp_path / "a", tmp_path / "a").read_text()


def test_classes_are_sorted_by_their_difference(tmp_path: Path) -> None:
    """The largest comes first."""
    (a,) = write_run(tmp_path / "a", [make_round(4)])
    (b,) = write_run(tmp_path / "b", [make_round(4, score=lower)])
    text = write_comparison(tmp_path / "a", tmp_path / "b").read_text()
    (table,) = re.findall(r'id="classes">(.*?)</table>', text, re.S)
    rows = re.findall(r'<bdi>(.*?)</bdi>.*?class="number[^"]*">([^<\s]*)\s*<small', table, re.S)
    said = {name: float(d.replace("\N{MINUS SIGN}", "-")) for name, d in rows}
    for name in ("cat", "dog"):
        one, other = count(a, name), count(b, name)
        expected = other["correct_low"] / sum(other.values()) - one["correct_low"] / sum(
            one.values()
        )
        assert abs(said[name] - expected) < 0.005 + 1e-9
    sizes = [abs(value) for value in said.values()]
    assert sizes == sorted(sizes, reverse=True)
