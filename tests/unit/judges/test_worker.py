"""The judge's thread: what comes back, and what is left when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers_judge import SCRIPT_START
from lightning_vlmxai.errors import ConfigurationError, JudgeError
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import JudgeRequest, UnscoredReason, Verdict
from openai_server import OpenAIServer, verdict


def make_requests(count: int) -> list[JudgeRequest]:
    """Return so many requests; the first keeps nothing of its picture, the last nearly all."""
    masks = [torch.full((8, 8), index / count) for index in range(count)]
    return [
        JudgeRequest(probe_index=i, label_name="cat", pixels=torch.ones(3, 8, 8), mask=mask)
        for i, mask in enumerate(masks)
    ]


class FakeJudge:
    """Waits for leave, then scores a request with its index."""

    name = "fake"

    def __init__(self, concurrency: int = 4) -> None:
        self.concurrency = concurrency
        self.leave = threading.Event()
        self.under_way = self.most_under_way = 0
        self.started = self.opened = self.closed = 0
        self.fails_with: Exception | None = None

    def check(self) -> None:
        """Need nothing."""

    async def open(self) -> None:
        """Count."""
        self.opened += 1

    async def close(self) -> None:
        """Count."""
        self.closed += 1

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the index as the score."""
        self.started += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            while not self.leave.is_set():
                await asyncio.sleep(0.001)
            if self.fails_with is not None:
                raise self.fails_with
            return Verdict.scored(request.probe_index % 5)
        finally:
            self.under_way -= 1


def judge_threads() -> list[threading.Thread]:
    """Return the worker's threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "vlmxai-judge"]


def open_sockets() -> int:
    """Return how many sockets this process holds."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone
            count += str(entry.readlink()).startswith("socket:")
    return count


def wait_until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds; fail if it does not within a long time."""
    for _ in range(20_000):
        if holds():
            return
        time.sleep(0.001)
    raise AssertionError("It never came.")


def test_verdicts_come_in_the_order_of_the_requests():
    """The ticket gives one verdict for each request, in order, at most so many at a time."""
    judge = FakeJudge(concurrency=3)
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(10))
    wait_until(lambda: judge.started == 3)
    judge.leave.set()
    assert [v.score for v in ticket.collect(30)] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert judge.most_under_way == 3
    assert worker.pending == 0
    worker.close()


def test_deadline_gives_up_what_is_not_sent_and_lets_the_rest_go_on():
    """All is unscored(deadline); giving up starts no call; what was sent comes in late."""
    judge = FakeJudge(concurrency=2)
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(1000))  # enough for the loop to run in between
    wait_until(lambda: judge.started == 2)
    assert {v.reason for v in ticket.collect(0)} == {UnscoredReason.DEADLINE}
    assert list(ticket.late) == [1, 0]
    wait_until(lambda: worker.pending == 2)
    judge.leave.set()
    assert [ticket.late[place].result(30).score for place in (0, 1)] == [0, 1]
    assert judge.started == 2
    worker.close()


def test_whoever_waits_is_told_of_each_verdict():
    """The counts that are told sum up to the requests, those answered before included."""
    judge = FakeJudge(concurrency=1)
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(5))
    judge.leave.set()
    told: list[int] = []
    ticket.collect(30, told.append)
    assert sum(told) == 5
    worker.close()


def test_error_of_a_judge_is_one_sample_s_failure():
    """What a judge raises is recorded with its words."""
    judge = FakeJudge()
    judge.leave.set()
    judge.fails_with = RuntimeError("a bug")
    worker = JudgeWorker(judge)
    (judged,) = worker.submit(make_requests(1)).collect(30)
    worker.close()
    assert judged.reason is UnscoredReason.JUDGE_ERROR
    assert "a bug" in judged.detail


def test_full_queue_refuses_without_waiting():
    """Beyond the bound requests come back at once as unscored(queue_full); the others stay."""
    judge = FakeJudge(concurrency=1)
    worker = JudgeWorker(judge, max_pending=3)
    ticket = worker.submit(make_requests(5))
    assert worker.pending == 3
    judge.leave.set()
    verdicts = ticket.collect(30)
    assert [v.score for v in verdicts[:3]] == [0, 1, 2]
    assert [v.reason for v in verdicts[3:]] == [UnscoredReason.QUEUE_FULL] * 2
    assert worker.submit(make_requests(1)).collect(30)[0].score == 0
    worker.close()


def test_queue_without_room_is_refused():
    """A bound below one is an error."""
    with pytest.raises(ConfigurationError, match="`max_pending` to be at least 1, got 0"):
        JudgeWorker(FakeJudge(), max_pending=0)


def test_close_drains_what_can_be_drained():
    """With time to drain, requests under way and waiting still get their verdicts."""
    judge = FakeJudge(concurrency=1)
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(4))
    threading.Timer(0.05, judge.leave.set).start()
    worker.close(drain_s=30)
    assert [v.score for v in ticket.collect(0)] == [0, 1, 2, 3]
    assert judge.closed == 1
    assert judge_threads() == []


def test_close_gives_up_what_outlasts_the_drain():
    """Without time to drain, what is not judged is unscored(closed), and the thread ends."""
    judge = FakeJudge()
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(6))
    worker.close()
    assert {v.reason for v in ticket.collect(0)} == {UnscoredReason.CLOSED}
    assert judge.closed == 1
    assert judge_threads() == []
    worker.close()
    assert judge.closed == 1


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt: a shell's background jobs start with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_drain_and_still_leaves_nothing():
    """Interrupted while draining, the worker waits no longer, and closes the judge all the same."""
    judge = FakeJudge()
    worker = JudgeWorker(judge)
    ticket = worker.submit(make_requests(2))
    wait_until(lambda: judge.started == 2)
    drains = threading.Event()

    def interrupt() -> None:
        wait_until(lambda: worker._loop is None)  # closing has begun
        time.sleep(0.1)
        drains.set()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        worker.close(drain_s=60)
    assert drains.is_set()
    assert judge.closed == 1
    assert judge_threads() == []
    assert {v.reason for v in ticket.collect(0)} == {UnscoredReason.CLOSED}


def test_worker_starts_again_after_close():
    """A submission after `close` opens the judge anew, as for `test` after `fit`."""
    judge = FakeJudge()
    judge.leave.set()
    worker = JudgeWorker(judge)
    for _ in range(2):
        assert worker.submit(make_requests(1)).collect(30)[0].score == 0
        worker.close()
    assert (judge.opened, judge.closed) == (2, 2)


def test_judge_that_can_t_be_opened_leaves_nothing(monkeypatch):
    """A missing key surfaces at the submission, and no thread is left."""
    monkeypatch.delenv("SOME_KEY", raising=False)
    worker = JudgeWorker(VLMJudge("m", api_key_env="SOME_KEY"))
    with pytest.raises(ConfigurationError, match="SOME_KEY, which is not set"):
        worker.submit(make_requests(1))
    assert judge_threads() == []


def test_no_thread_and_no_socket_is_left(tmp_path):
    """After `close` the process has the threads and the sockets that it had before."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        threads, sockets = threading.active_count(), open_sockets()
        judge = VLMJudge("m", base_url=server.base_url, api_key_env=None)
        judge.bind(tmp_path)
        worker = JudgeWorker(judge)
        worker.submit(make_requests(8)).collect(30)
        assert server.open_connections > 0
        worker.close()
        wait_until(lambda: server.open_connections == 0)
        wait_until(lambda: threading.active_count() == threads)  # the server's own
        assert open_sockets() == sockets


def test_no_socket_is_left_when_calls_are_given_up():
    """Closing in the middle of calls leaves neither thread nor socket."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        # The first four are answered: a server is not asked for many at a time before.
        server.answer = lambda seen: (seen.number >= 4 and server.closing.wait(30)) or verdict(3)
        sockets = open_sockets()
        worker = JudgeWorker(VLMJudge("m", base_url=server.base_url, api_key_env=None))
        worker.submit(make_requests(4)).collect(30)
        ticket = worker.submit(make_requests(4))
        wait_until(lambda: len(server.requests) == 8)
        worker.close()
        assert {v.reason for v in ticket.collect(0)} == {UnscoredReason.CLOSED}
        assert judge_threads() == []
        # Those on the server's side are its own; each of the client's is gone.
        assert open_sockets() - sockets == server.open_connections


class HoldsWorker(Dataset[int]):
    """A data set that tries to use the worker where it does not belong."""

    def __init__(self, worker: JudgeWorker) -> None:
        self.worker = worker

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        try:
            self.worker.submit(make_requests(1))
        except JudgeError:
            self.worker.close()
            return index if self.worker.pending == 6 else -2
        return -1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_forked_data_loader_leaves_the_judge_alone():
    """Workers forked off in the middle of a round can't use, close or break the parent's judge."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        leave = threading.Event()
        server.answer = lambda seen: (seen.number < 6 or leave.wait(30)) and verdict(3)
        judge = VLMJudge("m", base_url=server.base_url, api_key_env=None, max_retries=0)
        worker = JudgeWorker(judge)
        worker.submit(make_requests(6)).collect(30)
        ticket = worker.submit(make_requests(6))
        wait_until(lambda: len(server.requests) == 12)
        loader = DataLoader(HoldsWorker(worker), num_workers=2, multiprocessing_context="fork")
        assert [int(index) for index in loader] == [0, 1, 2, 3]
        leave.set()
        assert [v.score for v in ticket.collect(30)] == [3] * 6
        assert worker.submit(make_requests(1)).collect(30)[0].score == 3
        worker.close()


SCRIPT = """
import torch
from pathlib import Path
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.judges.worker import JudgeWorker

judge = VLMJudge("m", base_url=sys.argv[1], api_key_env=None)
judge.bind(Path(sys.argv[2]))
worker = JudgeWorker(judge)
request = JudgeRequest(
    probe_index=0, label_name="cat", pixels=torch.ones(3, 8, 8), mask=torch.ones(8, 8)
)
ticket = worker.submit([request] * 4)
input("submitted")
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("raise RuntimeError('training broke')", 1),
        ("ticket.collect(60)", -signal.SIGINT),
        ("worker.close(drain_s=60)", -signal.SIGINT),
    ],
    ids=["forgotten", "exception", "Ctrl-C while collecting", "Ctrl-C while draining"],
)
def test_process_ends_though_nobody_closed(ending: str, code: int, tmp_path: Path):
    """A process with calls under way ends by itself, and its judge is closed in order."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT_START + SCRIPT + ending)
    with OpenAIServer(lambda _: verdict(3)) as server:
        server.answer = lambda _: server.closing.wait(60) or verdict(3)
        command = [sys.executable, "-W", "error", str(script), server.base_url, str(tmp_path)]
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: server.requests or process.poll() is not None)
            process.stdin.write("end\n")
            process.stdin.flush()
            if code == -signal.SIGINT:
                process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == code
    assert "Warning" not in complaints
    assert "destroyed" not in complaints
    # The judge was closed in order: it could still write down what became of its calls.
    log = (tmp_path / "judge_calls.jsonl").read_text().splitlines()
    assert [json.loads(line)["detail"] for line in log] == ["given up"]


def test_loopback_only():
    """The tests' own server can't be reached from outside."""
    with OpenAIServer() as server:
        host = server.base_url.split("//")[1].split(":")[0]
        assert socket.gethostbyname(host) == "127.0.0.1"


def test_what_is_given_up_before_the_loop_comes_to_it_is_not_asked():
    """However late the loop is: what was to be judged is still in its queue then."""
    judge = FakeJudge(concurrency=2)
    worker = JudgeWorker(judge)
    worker.submit(make_requests(2))
    wait_until(lambda: judge.started == 2)
    judge.leave.set()
    held, free = threading.Event(), threading.Event()
    assert worker._loop is not None
    worker._loop.call_soon_threadsafe(lambda: (held.set(), free.wait(30)))
    assert held.wait(30)
    ticket = worker.submit(make_requests(50))
    assert {v.reason for v in ticket.collect(0)} == {UnscoredReason.DEADLINE}
    free.set()
    assert worker.submit(make_requests(1)).collect(30)[0].score == 0
    assert (judge.started, ticket.late) == (3, {})
    worker.close()
