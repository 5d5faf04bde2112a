"""What a row of the fault table is: a server's behaviour, and what is to come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lightning_vlmxai.records import Verdict
from openai_server import OpenAIServer, Reply, Seen, verdict

PROBES = 3


Answer = Callable[[Seen], Reply]


WAITING: list[OpenAIServer] = []
"""The servers that never answer, so that they can be let go."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to go wrong, and what shall come of it.

    Args:
        fault: In words.
        answer: Of the server; no server listens if None.
        outcome: Score as text, or the reason, that each of the probes gets.
        requests: How many the server is sent for all the probes together, exactly or from a range.
        arguments: Of the judge.
        label: That was predicted.
        server: Whose manner it is.
        told: Words of what the user is told.
    """

    fault: str
    answer: Answer | None
    outcome: str
    requests: int | range
    arguments: dict[str, Any] = field(default_factory=dict)
    label: str = "cat"
    server: str = "any"
    told: str = ""

    @property
    def name(self) -> str:
        """Return what tells it from the others."""
        return self.fault if self.server == "any" else f"{self.server}: {self.fault}"

    @property
    def allowed(self) -> range:
        """Return the numbers of requests that it may take."""
        wanted = self.requests
        return wanted if isinstance(wanted, range) else range(wanted, wanted + 1)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it."""

    verdicts: list[Verdict]
    requests: int
    tries: int

    @property
    def outcomes(self) -> Counter[str]:
        """Return how often each outcome came."""
        return Counter(outcome_of(judged) for judged in self.verdicts)


def outcome_of(judged: Verdict) -> str:
    """Return the score, or else the reason, as text."""
    return f"{judged.score:g}" if judged.reason is None else judged.reason.value


def always(reply: Reply) -> Answer:
    """Return an answer that is the same for all."""
    return lambda _: reply


def first(reply: Reply, then: Reply) -> Answer:
    """Return an answer that is another one when a picture is seen for the first time."""
    met: set[bytes] = set()

    def answer(seen: Seen) -> Reply:
        is_first = seen.picture_bytes[0] not in met
        met.add(seen.picture_bytes[0])
        return reply if is_first else then

    return answer


def never(server: Callable[[], OpenAIServer]) -> Answer:
    """Return an answer that does not come before the server closes."""

    def answer(_: Seen) -> Reply:
        server().closing.wait(30)
        return verdict(4)

    return answer


ONE = {"concurrency": 1}
