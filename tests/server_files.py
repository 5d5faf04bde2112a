"""What servers answer, one file of tests/data/servers for each server and case, as rows to judge.

A file holds: `server`, `case`, and `from`, where its form is known from; `replies`, of which the
last one repeats unless good answers come then (`then_good`; `per_picture`: for each one anew); or
`refuses`, the replies to requests with some setting or answer format; the judge's `arguments`; what
is to come of three pictures (`outcome`, a score or a reason); with how many `requests`; and words
that the user is `told`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fault_kinds import ONE, Answer, Row, first
from openai_server import Reply, Seen, verdict

FOLDER = Path(__file__).parent / "data" / "servers"


def server_rows() -> list[Row]:
    """Return a row for each file."""
    return [_row(json.loads(path.read_text("utf-8"))) for path in sorted(FOLDER.glob("*.json"))]


def _row(told: dict[str, Any]) -> Row:
    return Row(
        fault=told["case"],
        server=told["server"],
        answer=_refuses(told["refuses"]) if "refuses" in told else _replies(told),
        outcome=told["outcome"],
        requests=told["requests"],
        told=told.get("told", ""),
        arguments={**ONE, **told.get("arguments", {})},
    )


def _replies(told: dict[str, Any]) -> Answer:
    replies = [_reply(reply) for reply in told["replies"]]
    if told.get("per_picture"):
        return first(replies[0], verdict(4))
    if told.get("then_good"):
        replies.append(verdict(4))
    return lambda seen: replies[min(seen.number, len(replies) - 1)]


def _refuses(told: dict[str, Any]) -> Answer:
    def answer(seen: Seen) -> Reply:
        for name, reply in told.get("settings", {}).items():
            if name in seen.body:
                return _reply(reply)
        for name, reply in told.get("formats", {}).items():
            if name == seen.response_format:
                return _reply(reply)
        return verdict(4)

    return answer


def _reply(told: dict[str, Any]) -> Reply:
    text = told["text"] if "text" in told else json.dumps(told["body"])
    kind = "text/html" if text.startswith("<") else "application/json"
    return Reply(
        status=told["status"], body=text, headers=told.get("headers", {}), content_type=kind
    )
