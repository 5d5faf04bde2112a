"""A judge that writes its questions down, for a provider's batch endpoint or an offline engine."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import torch.distributed as dist

from ..errors import ConfigurationError
from ..records import JudgeRequest, UnscoredReason, Verdict
from .prices import Estimate
from .vlm import VLMJudge

MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
"""Of one file: providers take 50,000 requests, and 100 to 200 MB."""

BATCH_PRICE = 0.5
"""What the large providers ask for a batch, over the price of a live call."""

_KEY = re.compile(rb'\{"custom_id": "([0-9a-f]{64})"')


class BatchFileJudge:
    """Writes what a `VLMJudge` would ask into files of requests; `vlmxai batch read` does the rest.

    Each line is a request in the format of OpenAI's batch endpoint, with the same prompt, picture
    and answer format as a live call; its `custom_id` is the key under which a live answer is kept.
    A file that is full is followed by `<name>-2.jsonl` and so on; ranks write files of their own.
    Each sample is unscored(pending) until its answers are read. A question that a file holds is
    not written again, so that an audit that goes on leaves no request twice.

    Args:
        judge: Whose questions are written.
        path: Of the first file, ending in `.jsonl`.
        max_requests: Of one file.
        max_bytes: Of one file.
    """

    needs_class_names = True

    def __init__(
        self,
        judge: VLMJudge,
        path: Path,
        *,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._judge, self._given = judge, Path(path)
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._file: BinaryIO | None = None
        self._base_url = ""
        self._encoder: ThreadPoolExecutor

    @property
    def name(self) -> str:
        """The judge's: the answers are its."""
        return self._judge.name

    @property
    def requests(self) -> Path:
        """The first file, for those that look for the requests later."""
        return self._given.absolute()

    @property
    def concurrency(self) -> int:
        """How many pictures are encoded at a time."""
        return 4

    def bind(self, run_dir: Path, *, world_size: int = 1) -> None:
        """Keep nothing in the run folder: the files are where they were asked for."""

    def estimate(self, *, pictures: int, rounds: int) -> Estimate:
        """Return what the batch will take, at half the price of live calls."""
        live = self._judge.estimate(pictures=pictures, rounds=rounds)
        cost = None if live.cost_usd is None else BATCH_PRICE * live.cost_usd
        return replace(live, cost_usd=cost)

    def check(self) -> None:
        """Need no key: nothing is sent."""

    async def open(self) -> None:
        """Go on with the files that are there."""
        self._base_url = await self._judge.find_base_url()
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="vlmxai-encoder")
        self._written: set[bytes] = set()
        self._number = self._count = self._size = 0
        for path in find_request_files(self._first):
            self._begin(path)
            with path.open("rb") as file:
                keys = [m.group(1) for line in file if (m := _KEY.match(line[:80]))]
            self._written |= set(keys)
            self._count, self._size = len(keys), path.stat().st_size
        if self._file is None:
            self._begin(self._first)

    async def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._encoder.shutdown()

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Write the questions about a picture."""
        try:
            asked = await asyncio.get_running_loop().run_in_executor(
                self._encoder, self._make_lines, request
            )
        except ConfigurationError as error:
            return Verdict.unscored(UnscoredReason.BAD_REQUEST, str(error))
        if any(len(line) > self._max_bytes for _, line in asked):
            detail = f"its request alone is larger than a file may be ({self._max_bytes:,} bytes)"
            return Verdict.unscored(UnscoredReason.TOO_LARGE, detail)
        for key, line in asked:
            if key.encode() not in self._written:
                self._write(line)
                self._written.add(key.encode())
        pending = Verdict.unscored(UnscoredReason.PENDING, "waits for a batch's answer")
        return replace(pending, asked=tuple(key for key, _ in asked))

    def _make_lines(self, request: JudgeRequest) -> list[tuple[str, bytes]]:
        made = []
        for key, body in self._judge.questions(request, self._base_url):
            line = {
                "custom_id": key,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            made.append((key, json.dumps(line).encode() + b"\n"))
        return made

    def _write(self, line: bytes) -> None:
        if self._count >= self._max_requests or self._size + len(line) > self._max_bytes:
            self._begin(self._first.with_name(f"{self._first.stem}-{self._number + 1}.jsonl"))
        assert self._file is not None  # noqa: S101 - opened before
        self._file.write(line)
        self._file.flush()
        self._count, self._size = self._count + 1, self._size + len(line)

    def _begin(self, path: Path) -> None:
        """Go on with a file, without a last line that was cut off, or make it."""
        if self._file is not None:
            self._file.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        end = _end_of_whole(path)
        if end < path.stat().st_size:
            os.truncate(path, end)
        self._number, self._count, self._size = self._number + 1, 0, end

    @property
    def _first(self) -> Path:
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        name = f"{self._given.stem}-rank{rank}.jsonl" if rank else f"{self._given.stem}.jsonl"
        return self._given.with_name(name)


def find_request_files(first: Path) -> list[Path]:
    """Return a file of requests, and those that it was followed by, as far as they are there."""
    found = [first] if first.exists() else []
    number = 2
    while (path := first.with_name(f"{first.stem}-{number}.jsonl")).exists():
        found.append(path)
        number += 1
    return found


def copy_requests(sources: Sequence[Path], keys: set[str], out: Path) -> set[str]:
    """Copy the requests of some questions into a file, and return the keys that were found."""
    left = {key.encode() for key in keys}
    found: set[str] = set()
    with out.open("wb") as written:
        for source in sources:
            with source.open("rb") as file:
                for line in file:
                    match = _KEY.match(line[:80])
                    if match and match.group(1) in left and line.endswith(b"\n"):
                        left.discard(match.group(1))
                        found.add(match.group(1).decode())
                        written.write(line)
    return found


def _end_of_whole(path: Path) -> int:
    """Return where a file's last whole line ends, in bytes."""
    end = path.stat().st_size
    with path.open("rb") as file:
        while end:
            start = max(0, end - 2**16)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
    return 0
