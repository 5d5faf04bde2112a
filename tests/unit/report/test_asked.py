"""A sample's page shows the calls that gave its verdict, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers_judge import judge_all
from lightning_vlmxai.explain import make_request
from lightning_vlmxai.judges import ReferenceMaskJudge, VLMJudge
from lightning_vlmxai.judges.prompts import neutralize_label
from lightning_vlmxai.records import Round
from lightning_vlmxai.report import asked, read_run, write_report
from lightning_vlmxai.report.asked import describe_asked
from lightning_vlmxai.report.outlines import trace
from lightning_vlmxai.rounds.quadrants import assign_quadrant
from openai_server import OpenAIServer, Seen, completion, verdict
from run_folders import make_round, unpack, write_run


def judged_round(
    judge: VLMJudge, number: int, folder: Path, change: Callable[[Any], Any] = lambda e: e
) -> Round:
    """Return a round whose samples a judge really scored."""
    judge.bind(folder)
    made = make_round(number, probes=4)
    explanations = [change(sample.explanation) for sample in made.samples]
    requests = [make_request(e, round_number=number, stage="fit") for e in explanations]
    samples = []
    for e, v in zip(explanations, judge_all(judge, requests), strict=True):
        right = e.is_correct
        own = None if v.score is None else assign_quadrant(v.score, is_correct=right)
        samples.append(replace(made.samples[0], explanation=e, verdict=v, quadrant=own))
    return replace(made, samples=tuple(samples))


def speak() -> Callable[[Seen], Any]:
    """Return a server that says something else each time."""
    count = iter(range(1000))
    return lambda _: verdict(next(count) % 6, f"These are words {next(count)}.")


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, list[Round]]:
    """Return a run folder with two rounds; the second one's first two answers are cached."""
    with OpenAIServer(speak()) as server:
        url = server.base_url

        def make() -> VLMJudge:
            return VLMJudge("loopback", url, api_key_env=None, samples=2, concurrency=1)

        first = judged_round(make(), 0, tmp_path)
        same = {s.explanation.probe_index: s.explanation for s in first.samples[:2]}
        second = judged_round(make(), 1, tmp_path, lambda e: same.get(e.probe_index, e))
    write_run(tmp_path, [first, second], judge="loopback")
    return tmp_path, [first, second]


def test_each_sample_has_its_own_calls(run: tuple[Path, list[Round]]) -> None:
    """Joined by their ids: the words are those that the verdict is made of."""
    told = describe_asked(read_run(run[0]))
    samples = [sample for closed in run[1] for sample in closed.samples]
    assert len(told["of"]) == len(samples) == 8
    for sample, ids in zip(samples, told["of"], strict=True):
        assert len(ids) == 2
        answers = [json.loads(told["lines"][name]["answers"][-1]) for name in ids]
        assert sample.verdict.evaluation in [answer["evaluation"] for answer in answers]
        scores = [answer["score"] for answer in answers]
        assert sample.verdict.score == sum(scores) / 2
        label = neutralize_label(sample.explanation.prediction_name)
        assert {told["lines"][name]["label"] for name in ids} == {label}
    cached = [told["lines"][ids[0]]["paid"] for ids in told["of"]]
    assert cached == [None] * 4 + ["fit 0"] * 2 + [None] * 2
    (version,) = told["prompts"]
    assert "{label}" in told["prompts"][version]["template"]


def test_lines_that_are_not_a_samples_are_not_shown(run: tuple[Path, list[Round]]) -> None:
    """A resumed run asked again, and was killed before it wrote the round: the log has more."""
    log = run[0] / "judge_calls.jsonl"
    line = json.loads(log.read_text().splitlines()[0])
    with log.open("a") as file:
        file.write(json.dumps({**line, "id": "f" * 16, "answers": ["other words"]}) + "\n")
    told = describe_asked(read_run(run[0]))
    assert len(told["lines"]) == 16
    assert "other words" not in json.dumps(told["lines"])


def test_what_is_missing_is_said(run: tuple[Path, list[Round]], tmp_path: Path) -> None:
    """A log that was deleted, a prompt, an old folder, and a judge that has no prompt."""
    (prompt,) = (run[0] / "judge_prompts").iterdir()
    prompt.write_text("[")
    assert describe_asked(read_run(run[0]))["prompts"] == {}
    (run[0] / "judge_calls.jsonl").unlink()
    told = describe_asked(read_run(run[0]))
    assert (told["lines"], set(told["of"])) == ({}, {None})
    assert told["none"] == "This folder's log does not hold it."
    write_run(tmp_path / "other", judge=ReferenceMaskJudge.name)
    told = describe_asked(read_run(tmp_path / "other"))
    assert told["none"] == "The reference judge compares masks; it has no prompt."


def test_a_large_log_is_left_out_from_the_oldest_on(
    run: tuple[Path, list[Round]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says that the folder has it."""
    monkeypatch.setattr(asked, "MAX_CHARACTERS", 8 * 330)
    told = describe_asked(read_run(run[0]))
    assert all(told["of"][4:])
    assert [] in told["of"][:4]


def test_a_key_that_a_server_echoes_is_not_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in the log, though its words are kept as they came."""
    key = "sk-verysecret-0123456789abcdef"
    monkeypatch.setenv("OWN_KEY", key)
    with OpenAIServer(lambda _: completion(f"You sent {key}, and I score 3/5. Score: 3")) as server:
        judge = VLMJudge("loopback", server.base_url, api_key_env="OWN_KEY")
        write_run(tmp_path, [judged_round(judge, 0, tmp_path)])
    data = json.dumps(unpack(write_report(tmp_path).read_text()))
    assert "You sent ***" in data
    assert key not in data
    assert key not in (tmp_path / "judge_calls.jsonl").read_text()


def test_an_outline_encloses_its_mask() -> None:
    """Against each cell's four edges, one by one."""
    generator = np.random.default_rng(0)
    for shape in ((5, 7), (1, 1), (12, 3)):
        mask = generator.random(shape) < 0.5
        edges = set()
        for y, x in np.argwhere(mask):
            for edge in (("h", y, x), ("h", y + 1, x), ("v", y, x), ("v", y, x + 1)):
                edges ^= {(edge[0], int(edge[1]), int(edge[2]))}
        drawn = set()
        for part in trace(mask).split("M")[1:]:
            start, way, end = part.partition("H") if "H" in part else part.partition("V")
            x, y = map(int, start.split())
            drawn |= {("h", y, i) for i in range(x, int(end))} if way == "H" else set()
            drawn |= {("v", i, x) for i in range(y, int(end))} if way == "V" else set()
        assert drawn == edges


def test_a_reference_mask_is_written_once_and_outlined(tmp_path: Path) -> None:
    """Probes without one have no outline; a folder without the files is fine."""
    made = make_round(0)
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[4:10, 6:20] = True
    samples = [
        replace(s, explanation=replace(s.explanation, reference_mask=mask if i < 3 else None))
        for i, s in enumerate(made.samples)
    ]
    write_run(tmp_path, [replace(made, samples=tuple(samples), number=n) for n in range(2)])
    files = sorted(tmp_path.rglob("*-reference.png"))
    assert [str(f.relative_to(tmp_path)) for f in files] == [
        f"images/fit/{3 * i:06d}-reference.png" for i in range(3)
    ]
    data = unpack(write_report(tmp_path).read_text())
    assert list(data["outlines"].values()) == [[24, 24, "M6 4H20M6 10H20M6 4V10M20 4V10"]] * 3
    for file in files:
        file.unlink()
    assert unpack(write_report(tmp_path).read_text())["outlines"] == {}
