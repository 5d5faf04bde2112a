"""Answers of a batch, read by the same rules as live ones. Pure functions, and no network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..records import UnscoredReason, Usage, Verdict
from .answers import Unusable, read_answer
from .batch_files import BATCH_PRICE
from .prices import Price
from .replies import Reply, error_reply, read_body
from .samples import combine_samples
from .server_errors import read_error


@dataclass(slots=True, kw_only=True)
class BatchResults:
    """What files of results hold.

    Args:
        verdicts: By the key of the question; a scored one stands, else the last.
        repeated: Results for a question that had one.
        broken: Lines that are no result.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    repeated: int = 0
    broken: int = 0

    @property
    def failed(self) -> Counter[str]:
        """Why results hold no score, each question once."""
        reasons = (v.reason for v in self.verdicts.values() if v.reason is not None)
        return Counter(reason.value for reason in reasons)

    def verdict_of(self, keys: Sequence[str]) -> Verdict | None:
        """Return the verdict on a picture from those on its questions; None if one is missing."""
        if not keys or any(key not in self.verdicts for key in keys):
            return None
        return combine_samples([self.verdicts[key] for key in keys], latency_s=0.0)


def read_results(
    paths: Iterable[Path], *, price: Price | None = None, factor: float = BATCH_PRICE
) -> BatchResults:
    """Return what files of results hold, in any order, partial and repeated ones too.

    Args:
        paths: Of files as OpenAI's batch endpoint or `vllm run-batch` writes them, results or
            errors.
        price: Of the model, if known.
        factor: Of the price that a batch costs.
    """
    results = BatchResults()
    for path in paths:
        with path.open("rb") as file:
            for raw in file:
                if not raw.strip():
                    continue
                try:
                    line = json.loads(raw)
                    key = line["custom_id"]
                except (ValueError, KeyError, TypeError, RecursionError):
                    results.broken += 1
                    continue
                verdict = _read_line(line, price, factor)
                before = results.verdicts.get(key)
                results.repeated += before is not None
                if before is None or before.score is None:
                    results.verdicts[key] = verdict
    return results


def _read_line(line: Mapping[str, Any], price: Price | None, factor: float) -> Verdict:
    reply = _read_reply(line)
    usage = Usage(calls=1, cost_usd=None)
    if reply.prompt_tokens is not None and reply.answer_tokens is not None:
        full = None if price is None else price.of(reply.prompt_tokens, reply.answer_tokens)
        cost = None if full is None else factor * full
        usage = Usage(calls=1, tokens=reply.prompt_tokens + reply.answer_tokens, cost_usd=cost)
    elif reply.status is not None and reply.status >= 300:
        usage = Usage(calls=1)  # what was refused costs nothing
    if reply.text is None:
        reason = reply.reason or UnscoredReason.EMPTY_ANSWER
        return Verdict.unscored(reason, reply.detail, usage=usage)
    answer = read_answer(reply.text)
    if isinstance(answer, Unusable):
        return Verdict.unscored(answer.reason, answer.problem, usage=usage)
    return Verdict.scored(
        answer.score,
        evaluation=answer.evaluation,
        justification=answer.justification,
        usage=usage,
        attends_to=answer.attends_to,
    )


def _read_reply(line: Mapping[str, Any]) -> Reply:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, Mapping) and response.get("body") is not None:
        status = response.get("status_code", 200)
        body = response["body"]
        text = body if isinstance(body, str) else json.dumps(body)
        if isinstance(status, int) and status >= 300:
            return error_reply(read_error(status, text))
        return read_body(text)
    if error:
        code = error.get("code") if isinstance(error, Mapping) else None
        if code == "batch_expired":
            return Reply(
                reason=UnscoredReason.DEADLINE, detail="the batch expired before", status=408
            )
        return error_reply(read_error(500, json.dumps({"error": error})))
    return Reply(reason=UnscoredReason.EMPTY_ANSWER, detail="the result holds no response")
