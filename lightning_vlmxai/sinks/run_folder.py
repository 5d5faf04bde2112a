"""The run folder: everything a round knows, as JSON lines and PNG pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..records import Round, Sample
from .pictures import masked_image, to_image


class RunFolderSink:
    """Writes a folder that can be read without this package.

    `run.json` says how the run was made; `rounds.jsonl` has a line for each round;
    `samples.jsonl` a line for each sample and round; `images/<stage>/<index>.png` is the picture
    of a probe, `images/<stage>-<round>/<index>.png` what the judge saw of it. The folder is made
    when the first round is written.

    Args:
        path: Of the folder.
        settings: What goes into `run.json`: plain values only.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._settings = settings

    def write(self, closed: Round) -> None:
        """Append a round."""
        whole = Path("images", closed.stage)
        masked = Path("images", f"{closed.stage}-{closed.number:04d}")
        for folder in (whole, masked):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        settings = {**self._settings, "fingerprint": closed.fingerprint}
        (self.path / "run.json").write_text(json.dumps(settings, indent=2) + "\n")
        lines = []
        for sample in closed.samples:
            name = f"{sample.explanation.probe_index:06d}.png"
            masked_image(sample).save(self.path / masked / name)
            if not (self.path / whole / name).exists():
                to_image(sample.explanation.pixels).save(self.path / whole / name)
            record = _describe(closed, sample, (masked / name).as_posix())
            lines.append(_dump({**record, "judge": self._settings.get("judge")}))
        # Pictures first: a line never points to a picture that is not there.
        with (self.path / "samples.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(lines)
        with (self.path / "rounds.jsonl").open("a", encoding="utf-8") as file:
            head = {
                key: getattr(closed, key)
                for key in ("number", "stage", "epoch", "step", "fingerprint", "judged")
            }
            head |= {
                "probes": len(closed.samples) + closed.missing,
                "missing": closed.missing,
                "failure": closed.failure,
            }
            file.write(_dump({**head, **closed.metrics}))


def find_free_folder(base: Path) -> Path:
    """Return the folder, or the first of `<name>-1`, `<name>-2`, ... that holds no run."""
    path, number = base, 0
    while (path / "samples.jsonl").exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def _describe(closed: Round, sample: Sample, image: str) -> dict[str, Any]:
    e, v = sample.explanation, sample.verdict
    return {
        "round": closed.number,
        "stage": closed.stage,
        "epoch": closed.epoch,
        "step": closed.step,
        "fingerprint": closed.fingerprint,
        "probe": e.probe_index,
        "label": e.label,
        "label_name": e.label_name,
        "prediction": e.prediction,
        "prediction_name": e.prediction_name,
        "confidence": e.confidence if math.isfinite(e.confidence) else None,
        "is_correct": e.is_correct,
        "score": v.score,
        "quadrant": None if sample.quadrant is None else sample.quadrant.value,
        "reason": None if v.reason is None else v.reason.value,
        "detail": v.detail,
        "evaluation": v.evaluation,
        "justification": v.justification,
        "attention_drift": sample.attention_drift,
        "spread": v.spread,
        "is_cached": v.is_cached,
        "is_reused": v.is_reused,
        "calls": v.usage.calls,
        "tokens": v.usage.tokens,
        "cost_usd": v.usage.cost_usd,
        "latency_s": v.latency_s,
        "image": image,
    }


def _dump(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
