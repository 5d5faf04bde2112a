"""What the judge costs in time, CPU and memory, against a server of fixed latency on loopback.

Run `python benchmarks/judge.py`. The server is a process of its own; each row is one, too, so
that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import JudgeRequest

LATENCY_S = 0.2
CONCURRENCY = 16
SIDE = 224

_ANSWER = json.dumps(
    {
        "choices": [
            {
                "finish_reason": "stop",
                "message": {
                    "content": '{"evaluation": "Here.", "justification": "So.", "score": 3}'
                },
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }
).encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(LATENCY_S)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                + str(len(_ANSWER)).encode()
                + b"\r\n\r\n"
                + _ANSWER
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _run_server(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=2**20)
        pipe.send(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def _make_requests(count: int, kind: str) -> list[JudgeRequest]:
    """Return requests that no cache mixes up, for a picture whose pixels they share."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 28, 28, generator=generator)
    size = (SIDE, SIDE)
    pixels = torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 1)
    rows = torch.linspace(0, 1, SIDE)[:, None].expand(SIDE, SIDE)
    mask = torch.sigmoid(15 * (rows - 0.5))
    return [
        JudgeRequest(probe_index=i, label_name=f"{kind} {i}", pixels=pixels, mask=mask)
        for i in range(count)
    ]


def _measure(base_url: str, count: int, run_dir: str, warm_up: bool) -> dict[str, float]:
    judge = VLMJudge("bench", base_url=base_url, api_key_env=None, concurrency=CONCURRENCY)
    if run_dir:
        judge.bind(Path(run_dir))
    worker = JudgeWorker(judge)
    if warm_up:  # imports and connections are paid once in a training run
        worker.submit(_make_requests(CONCURRENCY, "dog")).collect(60)
    requests = _make_requests(count, "cat")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    verdicts = worker.submit(requests).collect(600)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker.close()
    if not all(verdict.score == 3 for verdict in verdicts):
        raise RuntimeError(f"Not all were judged: {verdicts[0]}")
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mib": peak / 1024,
        "grown_mib": (peak - memory) / 1024,
    }


def main() -> None:
    """Measure in a fresh process for each row, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, help="measure one row and print it as JSON")
    parser.add_argument("--base-url")
    parser.add_argument("--run-dir", default="")
    parser.add_argument("--counts", type=int, nargs="*", default=(16, 64, 1024))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.count:
        row = _measure(arguments.base_url, arguments.count, arguments.run_dir, warm_up=True)
        print(json.dumps(row))
        return
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_run_server, args=(theirs,), daemon=True
    )
    server.start()
    base_url = f"http://127.0.0.1:{ours.recv()}/v1"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}; load {os.getloadavg()[0]:.1f}; {SIDE} px, latency "
        f"{LATENCY_S} s, concurrency {CONCURRENCY}; median of {arguments.repeats} runs\n"
    )
    print(
        "| pictures | cache and log | ideal s | wall s | wall / ideal | best / ideal "
        "| CPU s per 1,000 | peak MiB | grown MiB |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for count in arguments.counts:
        for keeps_files in (False, True):
            rows = []
            for _ in range(arguments.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    command = [sys.executable, __file__, "--count", str(count)]
                    command += ["--base-url", base_url]
                    command += ["--run-dir", folder] if keeps_files else []
                    done = subprocess.run(  # noqa: S603 - this very file
                        command, check=True, capture_output=True, text=True
                    )
                    rows.append(json.loads(done.stdout))
            median = {key: sorted(row[key] for row in rows)[len(rows) // 2] for key in rows[0]}
            best = min(row["wall_s"] for row in rows)
            ideal = math.ceil(count / CONCURRENCY) * LATENCY_S
            print(
                f"| {count:,} | {'yes' if keeps_files else 'no'} | {ideal:.1f} "
                f"| {median['wall_s']:.2f} | {median['wall_s'] / ideal:.2f} | {best / ideal:.2f} "
                f"| {median['cpu_s'] / count * 1000:.2f} | {median['peak_mib']:.0f} "
                f"| {median['grown_mib']:.1f} |",
                flush=True,
            )
    server.terminate()
    server.join()
    # A thread left over would have kept the rows' processes from ending.
    assert threading.active_count() == 1  # noqa: S101


if __name__ == "__main__":
    main()
