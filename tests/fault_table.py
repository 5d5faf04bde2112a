"""What a judge makes of everything that can go wrong on the way; run it to see the table.

Each row is three probes against a real server on loopback that misbehaves in one way.
"""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from fault_kinds import PROBES, WAITING, Result, Row
from fault_rows import rows
from lightning_vlmxai.judges import VLMJudge, describe_failures
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import JudgeRequest
from openai_server import OpenAIServer, Seen
from server_files import server_rows


def run(row: Row) -> Result:
    """Return what comes of a row's three probes, through the worker, as in a training run."""
    defaults = {"max_retries": 1, "timeout_s": 10.0, "call_timeout_s": 20.0, "concurrency": 3}
    arguments = {**defaults, **row.arguments}
    requests = [_request(i, row.label) for i in range(PROBES)]
    if row.answer is None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            return _judge(f"http://127.0.0.1:{port}/v1", arguments, requests, [])
    server = OpenAIServer(row.answer)
    if row.fault == "never answers":
        WAITING.append(server)
    with server:
        return _judge(server.base_url, arguments, requests, server.requests)


def _request(index: int, label: str) -> JudgeRequest:
    mask = torch.zeros(8, 8)
    mask[: index + 1] = 1.0
    return JudgeRequest(
        probe_index=index, label_name=label, pixels=torch.ones(3, 8, 8), mask=mask, saliency=mask
    )


def _judge(
    base_url: str, arguments: dict[str, Any], requests: list[JudgeRequest], seen: list[Seen]
) -> Result:
    worker = JudgeWorker(VLMJudge("m", base_url=base_url, api_key_env=None, **arguments))
    try:
        verdicts = worker.submit(requests).collect(60)
        tries = sum(judged.usage.calls for judged in verdicts)
        return Result(verdicts=verdicts, requests=len(seen), tries=tries)
    finally:
        worker.close()


def run_all() -> dict[str, Result]:
    """Return the results of all rows by name; some rows wait for one another's time-outs."""
    table = all_rows()
    with ThreadPoolExecutor(8) as pool:
        return dict(zip((row.name for row in table), pool.map(run, table), strict=True))


def all_rows() -> list[Row]:
    """Return the ways to go wrong that every server has, and those of particular ones."""
    return [*rows(), *server_rows()]


def told(result: Result) -> str:
    """Return what the user is told of a result; "" if all is judged."""
    return " ".join(describe_failures(result.verdicts).values())


def main() -> None:
    """Print the table."""
    logging.getLogger("lightning_vlmxai").setLevel(logging.ERROR)
    results = run_all()
    print("| server | behaviour | outcome of 3 probes | requests | judged + unscored |", end="")
    print(" ends the rehearsal | what the user is told |")
    print("|---|---|---|---|---|---|---|")
    for row in all_rows():
        result = results[row.name]
        outcomes = ", ".join(f"{n} x {outcome}" for outcome, n in result.outcomes.items())
        judged = sum(v.score is not None for v in result.verdicts)
        unscored = sum(v.reason is not None for v in result.verdicts)
        reason = result.verdicts[0].reason
        ends = "yes" if reason is not None and reason.is_setup_fault else "no"
        words = told(result).replace("|", "\\|") or "-"
        print(
            f"| {row.server} | {row.fault} | {outcomes} | {result.tries} | {judged} + {unscored} "
            f"| {ends} | {words} |"
        )


if __name__ == "__main__":
    main()
