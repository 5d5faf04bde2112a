"""What a page offers people to rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning_vlmxai.report import write_report
from lightning_vlmxai.report.rating import digest_round, list_rateable, name_sample
from lightning_vlmxai.report.reader import read_run
from run_folders import SILENT, make_round, unpack, write_run


def test_only_judged_samples_with_a_picture_are_drawn(tmp_path: Path) -> None:
    """What is hidden is counted; a round without a verdict is not offered."""
    rounds = write_run(tmp_path, [make_round(n, probes=30, side=8) for n in (0, 1, SILENT)])
    (tmp_path / "images" / "fit-0001" / "000003.png").unlink()
    data = unpack(write_report(tmp_path).read_text())
    first, second = data["rate"]
    judged = [sum(s.verdict.score is not None for s in closed.samples) for closed in rounds[:2]]
    assert [of["judged"] for of in data["rate"]] == judged
    assert [of["hidden"] for of in data["rate"]] == [0, 1]
    assert [draw["size"] for draw in second["draws"]] == [20, judged[1] - 1]
    everything = second["draws"][-1]
    assert set(everything["weights"]) == {1.0}
    assert sorted(data["samples"]["probe"][i] for i in everything["samples"]) == [
        s.explanation.probe_index
        for s in rounds[1].samples
        if s.verdict.score is not None and s.explanation.probe_index != 3
    ]
    assert {data["samples"]["round"][i] for i in everything["samples"]} == {1}
    assert first["digest"] != second["digest"]


def test_a_round_s_digest_tells_it_from_others(tmp_path: Path) -> None:
    """Another verdict or another confidence is another round; another folder is not."""
    for name in "ab":
        write_run(tmp_path / name, [make_round(0)])
    (first,), (second,) = (read_run(tmp_path / name).rounds for name in "ab")
    assert digest_round(first) == digest_round(second)
    for change in ({"score": 1.25}, {"confidence": 0.123}, {"prediction_name": "owl"}):
        changed = (replace(first.samples[0], **change), *first.samples[1:])  # type: ignore[arg-type]
        assert digest_round(replace(first, samples=changed)) != digest_round(first)


def test_the_newest_rounds_of_each_stage_are_offered(tmp_path: Path) -> None:
    """Ten of the fit, and the test's."""
    rounds = [make_round(n + 3, side=4) for n in range(12)]
    write_run(tmp_path, [*rounds, make_round(0, side=4, stage="test")])
    data = unpack(write_report(tmp_path).read_text())
    keys = [data["rounds"][of["round"]]["key"] for of in data["rate"]]
    assert keys == [*(f"fit-{n}" for n in range(5, 15)), "test-0"]


def test_parts_of_a_probe_have_names_of_their_own(tmp_path: Path) -> None:
    """The label that is explained comes last."""
    closed = make_round(0, probes=4)
    samples = tuple(
        replace(s, explanation=replace(s.explanation, probe_index=7, part=part))
        for part, s in enumerate(closed.samples)
    )
    write_run(tmp_path, [replace(closed, samples=samples)])
    (of,) = read_run(tmp_path).rounds
    assert [name_sample(s) for s in list_rateable(of)] == [f"fit-0/7/{part}" for part in range(4)]
