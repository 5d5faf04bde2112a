"""Run folders of audits, written by hand in the form that audits write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("cat", "dog", "=owl")
SETTINGS = {
    "kind": "audit",
    "identity": "index",
    "model": "TinyNet",
    "judge": "scripted",
    "task": "Classification",
    "threshold": 2.5,
}


def draw_labels(
    number: int = 60, classes: int = 3, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return given labels and probabilities; one label in ten is wrong, the model mostly right."""
    drawn = np.random.default_rng(seed)
    true = np.arange(number) % classes
    logits = drawn.normal(size=(number, classes)) + 3.5 * np.eye(classes)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = true.copy()
    labels[::10] = (true[::10] + 1) % classes
    return labels, p.astype("<f4")


def describe(
    probe: int, label: int | None, p: NDArray[np.float32], row: int | None, **more: Any
) -> dict[str, Any]:
    """Return a line of an audit's `samples.jsonl`; the score goes by the probe."""
    names = more.pop("names", CLASSES)
    prediction = int(p.argmax())
    score = None if probe % 9 == 8 else (probe * 7) % 11 / 2
    is_correct = None if label is None else prediction == label
    quadrant = None
    if score is not None and is_correct is not None:
        quadrant = f"{'correct' if is_correct else 'wrong'}_{'high' if score >= 2.5 else 'low'}"
    return {
        "round": 0, "stage": "test", "epoch": 0, "step": 7, "fingerprint": "", "probe": probe,
        "part": None, "file": f"pictures/{probe:03d}.png", "label": label,
        "label_name": "" if label is None else names[label], "prediction": prediction,
        "prediction_name": names[prediction], "confidence": float(p[prediction]),
        "is_correct": is_correct, "score": score, "quadrant": quadrant,
        "reason": "timeout" if score is None else None, "detail": "",
        "evaluation": "" if score is None else f"Seen, <b>{probe}</b>.", "justification": "",
        "calls": 1, "tokens": 9, "cost_usd": None, "latency_s": None, "reference": None,
        "image": None, "saliency": None, "picture": None, "reference_mask": None, "row": row,
        **more,
    }  # fmt: skip


def write_audit(
    path: Path,
    labels: NDArray[np.int64] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    *,
    ranks: int = 1,
    pictures: int = 4,
    change: Any = None,
    **settings: Any,
) -> Path:
    """Write an audit whose samples are dealt to ranks; return its folder.

    Args:
        path: Of the folder.
        labels: Given class of each sample.
        probabilities: Of each class.
        ranks: How many files there are.
        pictures: Of how many samples the run kept pictures.
        change: Takes a line before it is written.
        settings: Further entries of `run.json`.
    """
    if labels is None or probabilities is None:
        labels, probabilities = draw_labels()
    classes = probabilities.shape[1]
    names = CLASSES if classes == len(CLASSES) else tuple(f"c{k}" for k in range(classes))
    told = {**SETTINGS, "num_classes": classes, "class_names": list(names), **settings}
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps(told))
    for rank in range(ranks):
        suffix = f"-{rank}" if rank else ""
        mine = list(range(rank, len(labels), ranks))[::-1]  # in any order
        lines = []
        for row, probe in enumerate(mine):
            line = describe(probe, int(labels[probe]), probabilities[probe], row, names=names)
            if probe < pictures:
                line |= save_pictures(path, probe)
            lines.append(json.dumps(change(line) if change else line) + "\n")
        (path / f"samples{suffix}.jsonl").write_text("".join(lines))
        (path / f"probabilities{suffix}.f32").write_bytes(probabilities[mine].tobytes())
    return path


def save_pictures(path: Path, probe: int) -> dict[str, str]:
    """Write the pictures of a sample; return the paths that its line has."""
    (path / "images/test").mkdir(parents=True, exist_ok=True)
    (path / "images/test-0000").mkdir(parents=True, exist_ok=True)
    stem = f"{probe:06d}"
    found = {
        "picture": f"images/test/{stem}.png",
        "image": f"images/test-0000/{stem}.png",
        "saliency": f"images/test-0000/{stem}-saliency.png",
    }
    for number, (name, file) in enumerate(found.items()):
        save_picture(path / file, 3 * probe + number, "L" if name == "saliency" else "RGB")
    return found


def save_picture(file: Path, seed: int, mode: str = "RGB", side: int = 32) -> None:
    """Write a picture of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
