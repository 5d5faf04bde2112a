"""What a run tells of itself, over a resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_vlmxai.callbacks.publishing import Publisher
from lightning_vlmxai.records import Round
from run_folders import make_round


def test_a_resumed_run_goes_on_from_what_its_folder_holds(tmp_path: Path) -> None:
    """The findings of its next round are those of a run that was never interrupted."""

    def publish(folder: Path, parts: list[list[Round]]) -> list[tuple[str, ...]]:
        for part in parts:
            kept: list[Round] = []
            publisher = Publisher(run_dir=folder, stage="fit", loggers=[], settings=_settings)
            publisher._open()
            publisher._sinks.append(_Keep(kept))
            for closed in part:
                publisher.write(closed)
            publisher.close()
        return [closed.finding for closed in kept[-2:]]

    rounds = [make_round(n, probes=60, score=_fallen) for n in range(4)]
    whole = publish(tmp_path / "whole", [rounds])
    assert "In epoch 0 it was 0.00 at 0.75: Correct-Low rose" in " ".join(whole[-1])
    # Rounds 2 and 3 were written before the checkpoint of round 1 was resumed.
    assert publish(tmp_path / "cut", [rounds, rounds[2:]]) == whole


def _settings() -> dict[str, Any]:
    return {"judge": "scripted", "threshold": 2.5}


def _fallen(probe: int, number: int) -> float:
    return 0.0 if number == 3 and probe % 3 == 0 else 5.0


class _Keep:
    def __init__(self, kept: list[Round]) -> None:
        self._kept = kept

    def write(self, closed: Round) -> None:
        self._kept.append(closed)
