"""Public test doubles: a scripted judge, a sink in memory, a tiny network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .records import JudgeRequest, Round, Verdict


class ScriptedJudge:
    """Answers as told and remembers what it was asked.

    Args:
        script: Verdicts to give in turn (the last one for ever), or a function of the request.
        delay_s: Seconds to wait before each answer.
        concurrency: How many requests may be under way at a time.

    Example:
        >>> judge = ScriptedJudge([Verdict.scored(5)])
        >>> judge.name
        'scripted'
    """

    name = "scripted"

    def __init__(
        self,
        script: Sequence[Verdict] | Callable[[JudgeRequest], Verdict],
        *,
        delay_s: float = 0.0,
        concurrency: int = 8,
    ) -> None:
        self._script = script
        self._delay_s = delay_s
        self.concurrency = concurrency
        self.requests: list[JudgeRequest] = []

    def check(self) -> None:
        """Need nothing."""

    async def open(self) -> None:
        """Need nothing."""

    async def close(self) -> None:
        """Hold nothing."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the next verdict of the script."""
        turn = len(self.requests)
        self.requests.append(request)
        await asyncio.sleep(self._delay_s)
        if callable(self._script):
            return self._script(request)
        return self._script[min(turn, len(self._script) - 1)]


class MemorySink:
    """Keeps the rounds that it is given."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def write(self, closed: Round) -> None:
        """Keep a round."""
        self.rounds.append(closed)


class TinyConvNet(nn.Module):
    """Two convolutions, global average pooling, a linear head: logits `[B, num_classes]`.

    Args:
        num_classes: Number of outputs.
        channels: Input channels.
    """

    def __init__(self, num_classes: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of `images` `[B, C, H, W]`."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits
