"""Requests and judges for the tests of the VLM judge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import lightning_vlmxai
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import JudgeRequest, Verdict

SCRIPT_START = f"""
import signal, sys, types
# A shell starts what runs in its background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The judge's rooms need no Lightning: to go past the front door saves seconds of importing it.
package = types.ModuleType("lightning_vlmxai")
package.__path__ = [{str(Path(lightning_vlmxai.__file__).parent)!r}]
sys.modules["lightning_vlmxai"] = package
"""
"""How a process of its own begins that runs the judge under test, wherever it is installed."""


def make_request(
    index: int = 0,
    *,
    lit: float = 0.5,
    label: str = "cat",
    size: int = 16,
    round_number: int = 0,
    stage: str = "fit",
) -> JudgeRequest:
    """Return a request for a white picture of which the upper share `lit` is kept."""
    mask = torch.zeros(size, size)
    mask[: round(size * lit)] = 1.0
    return JudgeRequest(
        probe_index=index,
        label_name=label,
        pixels=torch.ones(3, size, size),
        mask=mask,
        saliency=mask,
        round_number=round_number,
        stage=stage,
    )


def make_judge(base_url: str, **arguments: Any) -> VLMJudge:
    """Return a judge for a server without key that is patient, for a busy machine is slow."""
    defaults: dict[str, Any] = {"api_key_env": None, "timeout_s": 10.0, "call_timeout_s": 30.0}
    return VLMJudge("loopback", base_url=base_url, **{**defaults, **arguments})


def judge_all(judge: VLMJudge, requests: Sequence[JudgeRequest]) -> list[Verdict]:
    """Return the verdicts, asked for together in one event loop."""

    async def run() -> list[Verdict]:
        await judge.open()
        try:
            return list(await asyncio.gather(*(judge.judge(request) for request in requests)))
        finally:
            await judge.close()

    return asyncio.run(run())
