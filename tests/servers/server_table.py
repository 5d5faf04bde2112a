"""18 probes through real servers, 1, 4 and 16 at a time; run it to see the table.

Words as arguments choose the servers whose names have them.
What isn't installed is a line with the reason. LITELLM names the program of a LiteLLM that is
installed in an environment of its own; SERVE_URL and SERVE_MODEL a transformers serve, llama.cpp or
any other server that is running.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does

from helpers_judge import make_judge, make_request
from lightning_vlmxai.judges.worker import JudgeWorker
from openai_server import OpenAIServer, Reply, Seen, error, judge_by_light
from started import MissingServerError, litellm, nginx

PROBES = 18


def paced(every_s: float) -> Callable[[Seen], Reply]:
    """Return an answer that comes once each so many seconds, and is refused with a time between."""
    taken_at: list[float] = []

    def answer(seen: Seen) -> Reply:
        now = time.monotonic()
        if taken_at and now - taken_at[-1] < every_s:
            return error(429, "rate_limit_exceeded", "slow down", headers={"Retry-After": "1"})
        taken_at.append(now)
        return judge_by_light(seen)

    return answer


Door = Callable[[str], "AbstractContextManager[str]"]
DOORS: dict[str, tuple[Door, float]] = {
    "the tests' own": (lambda upstream: contextlib.nullcontext(upstream), 0.0),
    "the tests' own, 1 a second, Retry-After": (
        lambda upstream: contextlib.nullcontext(upstream),
        1.0,
    ),
    "nginx, 1 a second, Retry-After": (lambda u: nginx(u, rate="1r/s", says_when=True), 0.0),
    "nginx, 1 a second, its own 503": (lambda u: nginx(u, rate="1r/s", says_when=False), 0.0),
    "LiteLLM": (litellm, 0.0),
    "LiteLLM, 1 a second upstream": (litellm, 1.0),
}
"""A server by name: how it stands before the tests' own, and how slow that is."""


def judge(base_url: str, concurrency: int, model: str = "loopback") -> tuple[int, int, float]:
    """Return how many of the probes are judged as they should, the requests, and the seconds."""
    requests = [make_request(i, lit=i / 18, size=36) for i in range(PROBES)]
    judge = make_judge(base_url, concurrency=concurrency, timeout_s=60.0, call_timeout_s=120.0)
    judge.model = model
    worker = JudgeWorker(judge)
    started = time.monotonic()
    try:
        verdicts = worker.submit(requests).collect(120)
    finally:
        worker.close()
    seconds = time.monotonic() - started
    right = sum(v.score == round(5 * i / 18, 2) for i, v in enumerate(verdicts))
    for told in {v.detail for v in verdicts if v.detail}:
        print(f"  {told}", file=sys.stderr)
    return right, sum(v.usage.calls for v in verdicts), seconds


def main() -> None:
    """Print the table."""
    print("| server | at a time | judged of 18 | requests a probe | seconds |")
    print("|---|---:|---:|---:|---:|")
    for name, (door, every_s) in DOORS.items():
        if not all(word in name for word in sys.argv[1:]):
            continue
        try:
            with OpenAIServer() as upstream, door(upstream.base_url) as base_url:
                for concurrency in (1, 4, 16):
                    upstream.answer = paced(every_s) if every_s else judge_by_light
                    right, calls, seconds = judge(base_url, concurrency)
                    print(f"| {name} | {concurrency} | {right} | {calls / PROBES:.2f} |", end="")
                    print(f" {seconds:.1f} |", flush=True)
        except MissingServerError as missing:
            print(f"| {name} | skipped: {missing} | | | |", flush=True)
    if "SERVE_URL" not in os.environ:
        reason = "no model comes with the tests: start one, and name SERVE_URL and SERVE_MODEL"
        print(f"| transformers serve, llama.cpp | skipped: {reason} | | | |")
        return
    for concurrency in (1, 4, 16):
        url, model = os.environ["SERVE_URL"], os.environ["SERVE_MODEL"]
        _, calls, seconds = judge(url, concurrency, model)
        print(f"| {url} | {concurrency} | (scores of its own) | {calls / PROBES:.2f} |", end="")
        print(f" {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
