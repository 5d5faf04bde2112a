"""An audit's questions as files for a batch endpoint, and its answers read again."""

from __future__ import annotations

import base64
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from audited import ROWS, Stop, lines_of, run
from helpers_judge import make_judge
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.cli import main
from lightning_vlmxai.judges import BatchFileJudge, VLMJudge, find_request_files
from lightning_vlmxai.judges.cache import VerdictCache
from lightning_vlmxai.sinks import count_audit
from openai_server import OpenAIServer, judge_by_light
from tiny import Squares

FAILED, REPEATED = 0.03, 0.02
PRICES = {"loopback": [1.0, 2.0]}


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which a process of its own writes."""
    monkeypatch.setattr(vlm_audit, "write_report", lambda _: None)


def check_limits(path: Path) -> list[dict[str, Any]]:
    """Return a file's requests, if it is what OpenAI documents that its batch endpoint takes."""
    assert path.suffix == ".jsonl"
    assert path.stat().st_size <= 200 * 10**6
    requests = [json.loads(line) for line in path.read_text().splitlines()]
    assert 0 < len(requests) <= 50_000
    assert len({request["custom_id"] for request in requests}) == len(requests)
    assert len({request["body"]["model"] for request in requests}) == 1
    for request in requests:
        assert set(request) == {"custom_id", "method", "url", "body"}
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        assert 0 < len(request["custom_id"]) <= 64
        assert "stream" not in request["body"]
    return requests


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request, as the endpoint gives it, by the live server's script."""
    (part,) = [p for p in request["body"]["messages"][0]["content"] if p["type"] == "image_url"]
    data = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
    seen = _Shown(Image.open(io.BytesIO(data)))
    reply = judge_by_light(seen)  # type: ignore[arg-type]
    return {
        "id": f"batch_req_{request['custom_id'][:8]}",
        "custom_id": request["custom_id"],
        "response": {"status_code": 200, "request_id": "r", "body": json.loads(reply.body)},
        "error": None,
    }


class _Shown:
    """The part of a request that the script looks at."""

    def __init__(self, picture: Image.Image) -> None:
        self.pictures = [picture.convert("RGB")]


def failure(request: dict[str, Any], kind: int) -> dict[str, Any]:
    """Return one of the ways in which a request of a batch fails."""
    refused = {
        "status_code": 400,
        "request_id": "r",
        "body": {"error": {"message": "could not process image", "type": "invalid_request_error"}},
    }
    known: list[dict[str, Any]] = [
        {"response": None, "error": {"code": "batch_expired", "message": "not executed in time"}},
        {"response": refused, "error": None},
        {"response": None, "error": {"code": "server_error", "message": "try again"}},
    ]
    return {"id": "x", "custom_id": request["custom_id"], **known[kind % len(known)]}


def write(path: Path, results: list[dict[str, Any]]) -> Path:
    """Write a file of results."""
    path.write_text("".join(json.dumps(result) + "\n" for result in results))
    return path


def audit_into(folder: Path, data: Any = None, **settings: Any) -> list[dict[str, Any]]:
    """Audit squares into files of requests; return the requests."""
    judge = VLMJudge("loopback", api_key_env=None, prices=PRICES)
    judge = BatchFileJudge(judge, folder / "requests.jsonl", **settings)  # type: ignore[assignment]
    run(folder, judge, data=data)
    files = find_request_files(folder / "requests.jsonl")
    return [request for path in files for request in check_limits(path)]


@pytest.mark.slow
def test_a_shuffled_partly_failed_partly_repeated_batch_gives_live_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every sample is accounted for; after a further batch all is as live calls found it."""
    data = Squares(200)
    requests = audit_into(tmp_path / "batch", data)
    with OpenAIServer(judge_by_light) as server:
        live = make_judge(server.base_url, prices=PRICES)
        run(tmp_path / "live", live, data=data)
    draw = random.Random(0)  # noqa: S311
    failed = set(draw.sample(range(len(requests)), round(FAILED * len(requests))))
    results = [
        failure(request, n) if n in failed else answer(request)
        for n, request in enumerate(requests)
    ]
    repeated = draw.sample(results, round(REPEATED * len(results)))
    results = [*results, *repeated]
    draw.shuffle(results)
    half = len(results) // 2
    first = write(tmp_path / "first.jsonl", results[:half])
    second = write(tmp_path / "second.jsonl", results[half:])
    folder = tmp_path / "batch" / "run"
    assert main(["batch", "read", str(folder), str(second)]) == 0
    retry = tmp_path / "retry.jsonl"
    command = ["batch", "read", str(folder), str(first), str(second), "--retry-out", str(retry)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"{len(failed)} requests are in {retry}" in told
    assert f"{len(repeated)} results came again" in told
    count = count_audit(folder, "validate")
    assert (count.samples, count.judged) == (200, 200 - len(failed))
    assert sum(count.reasons.values()) == len(failed)
    assert set(count.reasons) == {"deadline", "bad_request", "server_error"}
    again = [answer(request) for request in check_limits(retry)]
    assert main(["batch", "read", str(folder), str(write(tmp_path / "third.jsonl", again))]) == 0
    kept = ("probe", "score", "quadrant", "reason", "evaluation", "justification", "confidence")
    by_batch: dict[int, Any] = {}
    for line in lines_of(tmp_path / "batch"):
        if line["score"] is not None or line["probe"] not in by_batch:
            by_batch[line["probe"]] = {name: line[name] for name in kept}
    alive = {
        line["probe"]: {name: line[name] for name in kept} for line in lines_of(tmp_path / "live")
    }
    assert by_batch == alive
    paid = ("calls", "tokens", "cost")
    mine, theirs = (
        {k: v for k, v in count_audit(tmp_path / n / "run", "validate").metrics.items()
         if k not in paid}
        for n in ("batch", "live")
    )  # fmt: skip
    assert mine == theirs


def test_requests_are_the_bodies_of_live_calls_under_the_cache_s_keys(tmp_path: Path) -> None:
    """Same prompt, picture and answer format; an answer is found again by its custom id."""
    with OpenAIServer(judge_by_light) as server:
        run(tmp_path / "live", make_judge(server.base_url))
        sent = {json.dumps(seen.body, sort_keys=True) for seen in server.requests}
        judge = BatchFileJudge(make_judge(server.base_url), tmp_path / "requests.jsonl")
        run(tmp_path / "batch", judge)
        assert len(server.requests) == ROWS
    requests = check_limits(tmp_path / "requests.jsonl")
    assert {json.dumps(request["body"], sort_keys=True) for request in requests} == sent
    cache = VerdictCache(tmp_path / "live" / "run" / "verdicts.sqlite")
    assert all(cache.get(request["custom_id"]) is not None for request in requests)
    cache.close()


def test_files_are_split_and_an_audit_that_goes_on_writes_no_request_twice(tmp_path: Path) -> None:
    """Within the number and the bytes that a file may have, a cut-off line gone."""
    path = tmp_path / "requests.jsonl"

    def judge() -> Any:
        inner = VLMJudge("loopback", api_key_env=None)
        return BatchFileJudge(inner, path, max_requests=20, max_bytes=10**7)

    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, judge(), callbacks=(Stop(9),))
    last = find_request_files(path)[-1]
    last.write_bytes(last.read_bytes()[:-30])
    (tmp_path / "run" / "samples.jsonl").write_bytes(
        b"".join((tmp_path / "run" / "samples.jsonl").read_bytes().splitlines(keepends=True)[:-5])
    )
    run(tmp_path, judge())
    files = find_request_files(path)
    sizes = [len(check_limits(file)) for file in files]
    assert sum(sizes) == ROWS
    assert max(sizes) == 20
    ids = [request["custom_id"] for file in files for request in check_limits(file)]
    asked = {key: line["probe"] for line in lines_of(tmp_path) for key in line["asked"]}
    assert sorted(ids) == sorted(asked)
    small = BatchFileJudge(
        VLMJudge("loopback", api_key_env=None), tmp_path / "small.jsonl", max_bytes=12_000
    )
    run(tmp_path / "small", small)
    assert all(
        file.stat().st_size <= 12_000 for file in find_request_files(tmp_path / "small.jsonl")
    )
    assert len(find_request_files(tmp_path / "small.jsonl")) > 3


def test_several_samples_of_a_picture_are_one_verdict(tmp_path: Path) -> None:
    """Their median, once all are there; a picture with one missing waits on."""
    judge = VLMJudge("loopback", api_key_env=None, samples=3, request={"seed": 5})
    run(tmp_path, BatchFileJudge(judge, tmp_path / "requests.jsonl"))
    requests = check_limits(tmp_path / "requests.jsonl")
    assert len(requests) == 3 * ROWS
    assert Counter(request["body"]["seed"] for request in requests) == dict.fromkeys(
        (5, 6, 7), ROWS
    )
    lost = requests[10]["custom_id"]
    results = []
    for request in requests:
        if request["custom_id"] != lost:
            result = answer(request)
            score = float(request["body"]["seed"] - 4)
            text = json.dumps({"evaluation": "e", "justification": "j", "score": score})
            result["response"]["body"]["choices"][0]["message"]["content"] = text
            results.append(result)
    path = write(tmp_path / "results.jsonl", results)
    assert main(["batch", "read", str(tmp_path / "run"), str(path)]) == 0
    lines = [line for line in lines_of(tmp_path) if line["score"] is not None]
    assert {(line["score"], line["spread"]) for line in lines} == {(2.0, 2.0)}
    assert len(lines) == ROWS - 1
    count = count_audit(tmp_path / "run", "validate")
    assert count.reasons == {"pending": 1}


def test_results_cost_half_and_say_what_they_can_not_be_used_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Broken lines, results of another audit, words without a score, no file, no audit."""
    requests = audit_into(tmp_path)
    results = [answer(request) for request in requests]
    for result in results:
        result["response"]["body"]["usage"] = {"prompt_tokens": 100, "completion_tokens": 50}
    results[0]["response"]["body"]["choices"][0]["message"]["content"] = "It looks fine."
    results.append({**results[1], "custom_id": "f" * 64})
    path = write(tmp_path / "results.jsonl", results)
    path.write_text(path.read_text() + "no result\n")
    folder = str(tmp_path / "run")
    assert main(["batch", "read", folder, str(path), "--price", "[1.0, 2.0]"]) == 0
    told = capsys.readouterr().out
    assert f"{ROWS - 1} samples have a score now" in told
    assert "1 have an answer without a score: 1 unparseable" in told
    assert "1 lines are no result" in told
    assert "1 results are of questions that this audit didn't ask" in told
    metrics = count_audit(tmp_path / "run", "validate").metrics
    assert metrics["tokens"] == 150 * ROWS
    assert metrics["cost"] == pytest.approx(0.5 * ROWS * 200 / 1e6)
    assert main(["batch", "read", folder, str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
    (tmp_path / "run" / "run.json").write_text("{}")
    assert main(["batch", "read", folder, str(path)]) == 2
    assert "folder of an audit" in capsys.readouterr().err
