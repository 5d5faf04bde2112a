"""Run folders of audits, written line by line as their format says, quickly and by a seed."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SETTINGS = {
    "kind": "audit",
    "identity": "index",
    "model": "TinyNet",
    "judge": "scripted",
    "method": "gradcam",
    "target_layer": "features.3",
    "task": "classification",
    "prompt_version": "2",
    "alpha": 15.0,
    "beta": 0.6,
    "fill": "black",
    "threshold": 2.5,
}
CAMERAS = ("north", "south", "yard", "gate")


def audit_line(probe: int, **values: object) -> dict[str, Any]:
    """Return a line of `samples.jsonl` of a judged sample, without pictures."""
    line: dict[str, Any] = {
        "round": 0,
        "stage": "validate",
        "epoch": 0,
        "step": 0,
        "fingerprint": "",
        "probe": probe,
        "part": None,
        "file": f"data/val/cat/{probe:06d}.jpg",
        "label": 0,
        "label_name": "cat",
        "prediction": 0,
        "prediction_name": "cat",
        "confidence": 0.75,
        "is_correct": True,
        "score": 4.0,
        "quadrant": "correct_high",
        "reason": None,
        "detail": "",
        "evaluation": "On the cat.",
        "justification": "So.",
        "attention_drift": None,
        "spread": None,
        "asked": [],
        "is_cached": False,
        "is_reused": False,
        "calls": 1,
        "tokens": 812,
        "cost_usd": 0.0004,
        "latency_s": 0.8,
        "reference": None,
        "reference_mask": None,
        "image": None,
        "saliency": None,
        "picture": None,
        "row": probe,
    }
    return {**line, **values}


def unscored(probe: int, reason: str = "timeout", **values: object) -> dict[str, Any]:
    """Return a line of a sample that has no score."""
    return audit_line(
        probe, score=None, quadrant=None, reason=reason, evaluation="", justification="", **values
    )


def write_lines(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def draw_lines(
    count: int,
    *,
    classes: int = 20,
    bad: Mapping[str, float] | None = None,
    labelled: bool = True,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return lines of samples drawn by a seed.

    Args:
        count: Of samples.
        classes: Of labels.
        bad: Probability of a low score by class, or by "camera=<name>"; 0.15 of all others.
        labelled: Whether labels are known.
        seed: Of all that is drawn.
    """
    draw, bad = random.Random(seed), dict(bad or {})  # noqa: S311 - pictures, no secrets
    lines = []
    for probe in range(count):
        label, camera = draw.randrange(classes), draw.choice(CAMERAS)
        name = f"class {label:04d}"
        confidence = draw.betavariate(4, 1.3)
        is_correct = draw.random() < 0.15 + 0.8 * confidence
        prediction = label if is_correct else (label + 1 + draw.randrange(classes - 1)) % classes
        low = max(bad.get(name, 0.15), bad.get(f"camera={camera}", 0.0))
        is_low = draw.random() < low
        score = draw.choice((0.5, 1.0, 2.0)) if is_low else draw.choice((3.0, 4.0, 4.5, 5.0))
        quadrant = f"{'correct' if is_correct else 'wrong'}_{'low' if is_low else 'high'}"
        values: dict[str, object] = {
            "file": f"data/val/{label:04d}/{probe:06d}.jpg",
            "label": label if labelled else None,
            "label_name": name if labelled else "",
            "prediction": prediction,
            "prediction_name": f"class {prediction:04d}",
            "confidence": round(confidence, 6),
            "is_correct": is_correct if labelled else None,
            "score": score,
            "quadrant": quadrant if labelled else None,
            "evaluation": f"The light lies on the {'ground' if is_low else 'thing'} ({probe}).",
            "justification": "What is lit is what the score is for.",
            "latency_s": round(draw.uniform(0.3, 2.5), 3),
            "groups": {"camera": camera},
        }
        line = audit_line(probe, **values)
        if draw.random() < 0.02:
            reason = draw.choice(("timeout", "refusal", "pending"))
            line |= {"score": None, "quadrant": None, "reason": reason, "evaluation": ""}
        lines.append(line)
    return lines


def write_audit(
    path: Path,
    lines: Sequence[dict[str, Any]],
    *,
    pictures: int = 0,
    side: int = 48,
    ranks: int = 1,
    classes: int = 0,
    is_ended: bool = True,
    **settings: object,
) -> Path:
    """Write the run folder of an audit and return it.

    Args:
        path: Of the folder.
        lines: Of samples; rank r gets every `ranks`-th one.
        pictures: How many samples have theirs kept, Correct-Low ones first.
        side: Of the pictures, in pixels.
        ranks: Files of samples.
        classes: Columns of the files of probabilities; none are written if 0.
        is_ended: Whether the stage came to its end.
        settings: Beside `SETTINGS`.
    """
    path.mkdir(parents=True, exist_ok=True)
    told = {**SETTINGS, "num_classes": classes or None, **settings}
    (path / "run.json").write_text(json.dumps(told))
    worst = sorted(lines, key=lambda line: line["quadrant"] != "correct_low")[:pictures]
    for line in worst:
        _draw(path, line, side)
    for rank in range(ranks):
        own = lines[rank::ranks]
        name = f"-{rank}" if rank else ""
        for row, line in enumerate(own):
            line["row"] = row if classes else None
        write_lines(path / f"samples{name}.jsonl", own)
        if classes:
            rows = array("f", [0.0]) * (classes * len(own))
            for row, line in enumerate(own):
                rows[row * classes + line["prediction"]] = 1.0
            with (path / f"probabilities{name}.f32").open("wb") as out:
                rows.tofile(out)
    if is_ended and lines:
        head = {"number": 0, "stage": lines[0]["stage"], "epoch": 0, "step": 0, "fingerprint": ""}
        judged = sum(line["score"] is not None for line in lines)
        ended = {**head, "judged": judged, "probes": len(lines), "missing": 0, "failure": ""}
        write_lines(path / "rounds.jsonl", [ended])
    return path


def _draw(path: Path, line: dict[str, Any], side: int) -> None:
    stem = f"{line['probe']:06d}"
    masked = f"images/{line['stage']}-0000/{stem}"
    line["image"], line["saliency"] = f"{masked}.png", f"{masked}-saliency.png"
    line["picture"] = f"images/{line['stage']}/{stem}.png"
    noise = random.Random(line["probe"])  # noqa: S311 - pictures, no secrets
    for name, mode in (("image", "RGB"), ("saliency", "L"), ("picture", "RGB")):
        (path / line[name]).parent.mkdir(parents=True, exist_ok=True)
        bands = 3 if mode == "RGB" else 1
        small = Image.frombytes(mode, (6, 6), noise.randbytes(36 * bands))
        small.resize((side, side), Image.Resampling.BICUBIC).save(path / line[name])
