"""A line for each call to a judge's server."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ..disk import tell_full
from ..records import JudgeRequest, Verdict
from .prompts import Prompt

LONGEST = 4000
"""Characters that are kept of an answer."""
PROMPTS = "judge_prompts"
"""Folder beside the log with a file for each prompt, named by its version."""

_log = logging.getLogger(__name__)


class CallLog:
    """Appends records to a file of JSON lines; several processes may share the file.

    A file that can't be written costs its lines and nothing else, and is warned of once; one that
    was deleted is made again.

    Args:
        path: Of the file; nothing is written if None.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._is_told = False

    def add(
        self,
        request: JudgeRequest,
        verdict: Verdict,
        *,
        prompt: Prompt,
        answers: Sequence[str] = (),
        **more: str | int | None,
    ) -> tuple[str, ...]:
        """Append what became of a request, with the time (UTC); return the line's id.

        Args:
            request: That was judged.
            verdict: That it got, with the tries and tokens that it took.
            prompt: That was asked with; it is kept once, beside the log.
            answers: The model's words, the last ones last.
            more: Further entries.
        """
        if self._path is None:
            return ()
        name = uuid.uuid4().hex[:16]
        record = {
            "id": name,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "stage": request.stage,
            "round": request.round_number,
            "probe": request.probe_index,
            "prompt": prompt.version,
            **more,
            "answers": [shorten(answer) for answer in answers],
            "tries": verdict.usage.calls,
            "latency_s": round(verdict.latency_s, 4),
            "tokens": verdict.usage.tokens,
            "cost_usd": verdict.usage.cost_usd,
            "score": verdict.score,
            "reason": None if verdict.reason is None else verdict.reason.value,
            "detail": verdict.detail,
            "cached": verdict.is_cached,
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._keep(self._path.parent / PROMPTS / f"{prompt.version}.json", prompt)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # One write for a line: appends of several processes don't mix.
                os.write(descriptor, f"{json.dumps(record)}\n".encode("ascii"))
            finally:
                os.close(descriptor)
        except OSError as error:
            if not tell_full(error) and not self._is_told:
                _log.warning("The log of the judge's calls could not be written: %s", error)
            self._is_told = True
            return ()
        return (name,)

    @staticmethod
    def _keep(path: Path, prompt: Prompt) -> None:
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        told = {"version": prompt.version, "template": prompt.template, "reask": prompt.reask}
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def shorten(text: str) -> str:
    """Return the first `LONGEST` characters of an answer, and how many more there were."""
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]}… ({more:,} characters more)"
