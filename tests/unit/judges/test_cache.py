"""The cache of answers, and what a killed run has to pay again."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers_judge import SCRIPT_START, judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.judges.cache import VerdictCache, cache_key
from lightning_vlmxai.records import Usage, Verdict
from openai_server import OpenAIServer, Reply, Seen, completion, error, judge_by_light, verdict


def test_nothing_is_paid_twice(tmp_path):
    """A second run in the folder asks nothing, and gets the same words marked as cached."""
    requests = [make_request(i, lit=i / 8) for i in range(8)]
    runs = []
    with OpenAIServer() as server:
        for _ in range(2):
            judge = make_judge(server.base_url, samples=2)
            judge.bind(tmp_path)
            runs.append(judge_all(judge, requests))
    assert len(server.requests) == 16
    first, second = runs
    assert [v.score for v in first] == [v.score for v in second]
    assert [v.evaluation for v in first] == [v.evaluation for v in second]
    assert [v.is_cached for v in first + second] == [False] * 8 + [True] * 8
    assert {v.usage for v in second} == {Usage(calls=0, tokens=0, cost_usd=0.0)}


@pytest.mark.parametrize(
    "change",
    [
        {"style": "concise"},
        {"view": "overlay"},
        {"request": {"temperature": 0}},
        {"picture_format": "jpeg"},
        {"min_side": 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_question_is_asked_again(change, tmp_path):
    """Whatever changes the question makes another answer."""
    with OpenAIServer() as server:
        for arguments in ({}, change):
            judge = make_judge(server.base_url, **arguments)
            judge.bind(tmp_path)
            judge_all(judge, [make_request()])
    assert len(server.requests) == 2


def test_changed_label_or_picture_is_asked_again(tmp_path):
    """Another prediction or another mask is another question; another probe number is not."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, concurrency=1)
        judge.bind(tmp_path)
        requests = [make_request(), make_request(label="dog"), make_request(lit=0.25)]
        judge_all(judge, [*requests, make_request(index=5)])
    assert len(server.requests) == 3


def test_cache_can_be_a_file_of_one_s_own_or_none(tmp_path):
    """A path is used wherever the run is; False keeps nothing."""
    with OpenAIServer() as server:
        for run, cache in enumerate([str(tmp_path / "own.sqlite")] * 2 + [False] * 2):
            judge = make_judge(server.base_url, cache=cache)
            judge.bind(tmp_path / f"run{run}")
            judge_all(judge, [make_request()])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "is_kept"),
    [
        (completion(None, message={"refusal": "no"}), True),
        (verdict(9), True),
        (completion(None), False),
        (error(500), False),
        (Reply(body="<html>"), False),
    ],
    ids=["refusal", "out of range", "empty", "500", "HTML"],
)
def test_model_s_own_failures_are_kept_and_the_server_s_are_not(reply, is_kept, tmp_path):
    """An answer that can't be used is not paid for again; a fault of the way may pass."""
    with OpenAIServer(lambda _: reply) as server:
        for _ in range(2):
            judge = make_judge(server.base_url, max_retries=0)
            judge.bind(tmp_path)
            (judged,) = judge_all(judge, [make_request()])
            calls = len(server.requests)
            server.requests.clear()
    assert (calls == 0) == is_kept
    assert judged.is_cached == is_kept
    assert judged.score is None


def test_damaged_cache_is_refused_with_a_remedy(tmp_path):
    """A file that is no cache is left alone, and the message says what to do."""
    path = tmp_path / "verdicts.sqlite"
    path.write_text("This is no database, and long enough to look like one. " * 20)
    judge = make_judge("http://127.0.0.1:1/v1")
    judge.bind(tmp_path)
    with pytest.raises(ConfigurationError, match="Delete that file, pass another path, or pass"):
        judge_all(judge, [make_request()])
    assert path.read_text().startswith("This is no database")


def test_full_disk_loses_no_verdict(tmp_path, caplog):
    """A verdict that can't be kept is still a verdict, with a warning."""
    cache = VerdictCache(tmp_path / "verdicts.sqlite")
    cache._database.execute("PRAGMA query_only=ON")  # as a full or read-only disk behaves
    with caplog.at_level(logging.WARNING):
        cache.put("key", Verdict.scored(3))
    cache.close()
    assert "could not be kept" in caplog.text


def test_key_depends_on_every_fact():
    """Two different questions have different keys."""
    facts = {"label": "cat", "sample": 0, "settings": {"seed": 1}}
    others = [{**facts, "label": "dog"}, {**facts, "sample": 1}, {**facts, "settings": {"seed": 2}}]
    assert len({cache_key(each) for each in [facts, *others]}) == 4


SCRIPT = """
import torch
from pathlib import Path
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.judges.worker import JudgeWorker

judge = VLMJudge("m", base_url=sys.argv[1], api_key_env=None, concurrency=4)
judge.bind(Path(sys.argv[2]))
masks = [torch.full((8, 8), 1 - i / 32) for i in range(24)]
requests = [
    JudgeRequest(probe_index=i, label_name="cat", pixels=torch.ones(3, 8, 8), mask=mask)
    for i, mask in enumerate(masks)
]
worker = JudgeWorker(judge)
verdicts = worker.submit(requests).collect(60)
worker.close()
print(sum(v.is_cached for v in verdicts), sum(v.score is not None for v in verdicts))
"""


@pytest.mark.slow
def test_killed_run_repeats_no_answered_call(tmp_path):
    """After kill -9 in the middle of a round, what had been answered is not asked again."""
    script, run_dir = tmp_path / "train.py", tmp_path / "run"
    script.write_text(SCRIPT_START + SCRIPT)
    command = [sys.executable, str(script)]
    killed = threading.Event()

    def answer(seen: Seen) -> Reply:
        if seen.number >= 10 and not killed.is_set():
            killed.wait(60)  # and then it answers nobody
        return judge_by_light(seen)

    with OpenAIServer(answer) as server:
        arguments = [*command, server.base_url, str(run_dir)]
        process = subprocess.Popen(arguments)  # noqa: S603
        try:
            _wait_for_rows(run_dir / "verdicts.sqlite", 10)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        before = [seen.picture_bytes[0] for seen in server.requests]
        killed.set()
        again = subprocess.run(  # noqa: S603
            arguments, check=True, capture_output=True, text=True
        )
        after = [seen.picture_bytes[0] for seen in server.requests[len(before) :]]
    assert again.stdout.split() == ["10", "24"]
    assert len(after) == 14
    assert not set(before[:10]) & set(after)
    assert len(set(before[:10]) | set(after)) == 24


def _wait_for_rows(path: Path, rows: int) -> None:
    for _ in range(6000):
        time.sleep(0.01)
        if path.exists():
            database = sqlite3.connect(path)
            try:
                (count,) = database.execute("SELECT COUNT(*) FROM verdicts").fetchone()
            except sqlite3.OperationalError:
                count = 0  # not made yet
            finally:
                database.close()
            if count == rows:
                return
    raise AssertionError("The rows never came.")
