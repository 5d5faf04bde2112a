"""The run folder of an audit: lines as verdicts come in, and a bounded number of pictures."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ..judges import KEPT_REASONS
from ..records import Quadrant, Round, Sample, UnscoredReason
from .lines import describe_sample, dump_line, save_picture, to_grey_image
from .pictures import masked_image, to_image

FINAL = frozenset(
    {
        *(reason.value for reason in KEPT_REASONS),
        UnscoredReason.BLANK_SALIENCY.value,
        UnscoredReason.NO_REFERENCE_MASK.value,
        UnscoredReason.PENDING.value,
    }
)
"""Reasons that another try would not change: a resumed audit asks these no more."""

SHARES: Mapping[Quadrant | None, float] = {
    Quadrant.CORRECT_LOW: 0.35,
    Quadrant.WRONG_HIGH: 0.30,
    Quadrant.WRONG_LOW: 0.15,
    Quadrant.CORRECT_HIGH: 0.10,
    None: 0.10,
}
"""How the pictures that are kept are spread: most for what is worth looking at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What an audit knows of a row: one sample, or one for each explained label.

    Args:
        samples: Whose `probe_index` is the row's identity.
        probabilities: Of each class, `[K]` float32; None of a dense task.
        groups: What the row belongs to, by name.
        pixels: Digest of the picture.
    """

    samples: Sequence[Sample]
    pixels: str
    probabilities: Tensor | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


class AuditFolder:
    """Appends lines of judged rows, each rank to files of its own.

    `samples.jsonl` and `probabilities.f32` are rank 0's, `samples-1.jsonl` and so on the others'.
    A line is written once the row's verdicts are in, all lines of a row at a time, its
    probabilities and pictures before it; a file that was cut off by a kill is gone on with behind
    what is whole.

    Args:
        path: Of the folder.
        head: The round that the lines are of.
        rank: Of this process.
        pictures: How many rows' pictures are kept at most.
        rows: How many rows will come; None if that is not known.
        judge: Name of the judge.
    """

    def __init__(
        self, path: Path, head: Round, *, rank: int, pictures: int, rows: int | None, judge: str
    ) -> None:
        self._path, self._head, self._judge = path, head, judge
        self._pictures, self._rows = pictures, rows
        self._seen, self._kept = 0, Counter[Quadrant | None]()
        suffix = f"-{rank}" if rank else ""
        self._lines = open_whole(path / f"samples{suffix}.jsonl")
        self._floats_path = path / f"probabilities{suffix}.f32"
        self._floats: BinaryIO | None = None
        self._row = 0

    def write(self, judged: Sequence[Judged]) -> None:
        """Append rows; they are the system's when this returns, whatever becomes of the process."""
        lines, floats = [], []
        for one in judged:
            self._seen += 1
            row = None
            if one.probabilities is not None:
                self._open_floats(len(one.probabilities))
                row, self._row = self._row, self._row + 1
                floats.append(one.probabilities.float().contiguous().numpy().tobytes())
            is_shown = self._is_shown(one.samples[0].quadrant)
            for sample in one.samples:
                record = describe_sample(self._head, sample)
                record |= {"judge": self._judge, "row": row, "pixels": one.pixels}
                if sample.explanation.part is not None:
                    record["parts"] = len(one.samples)
                if one.groups:
                    record["groups"] = dict(one.groups)
                record |= self._draw(sample, is_shown=is_shown)
                lines.append(dump_line(record))
        if self._floats is not None:
            self._floats.write(b"".join(floats))
            self._floats.flush()
        self._lines.write("".join(lines).encode())
        self._lines.flush()

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        self._lines.close()
        if self._floats is not None:
            self._floats.close()

    def _open_floats(self, width: int) -> None:
        if self._floats is None:
            size = self._floats_path.stat().st_size if self._floats_path.exists() else 0
            self._row = size // (4 * width)
            if size % (4 * width):
                os.truncate(self._floats_path, self._row * 4 * width)
            self._floats = self._floats_path.open("ab")

    def _is_shown(self, quadrant: Quadrant | None) -> bool:
        """Return whether a row's pictures are kept: spread over the rows as they come."""
        if self._rows is not None and self._rows <= self._pictures:
            return True
        share = SHARES[quadrant] * self._pictures
        due = share if self._rows is None else share * min(1.0, self._seen / self._rows)
        is_shown = self._kept[quadrant] < int(due)
        self._kept[quadrant] += is_shown
        return is_shown

    def _draw(self, sample: Sample, *, is_shown: bool) -> dict[str, str | None]:
        """Write a sample's pictures, and return where they are."""
        names = ("image", "saliency", "picture", "reference_mask")
        if not is_shown:
            return dict.fromkeys(names)
        e = sample.explanation
        folder = Path("images", f"{self._head.stage}-{self._head.number:04d}")
        (self._path / folder).mkdir(parents=True, exist_ok=True)
        stem = f"{e.probe_index:06d}" + ("" if e.part is None else f"-{e.part}")
        made = {
            "image": masked_image(sample),
            "saliency": to_grey_image(e.saliency),
            "picture": to_image(e.pixels),
            "reference_mask": None if e.reference_mask is None else to_grey_image(e.reference_mask),
        }
        told: dict[str, str | None] = {}
        for name, ending in zip(names, ("", "-saliency", "-whole", "-reference"), strict=True):
            image, place = made[name], (folder / f"{stem}{ending}.png").as_posix()
            told[name] = None if image is None else place
            if image is not None:
                save_picture(image, self._path / place)
        return told


def open_whole(path: Path) -> BinaryIO:
    """Open a file of lines to append to, its last line ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    if file.tell():
        with path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            if written.read(1) != b"\n":
                file.write(b"\n")
    return file


def audit_files(path: Path) -> list[Path]:
    """Return the files of an audit's lines: of rank 0, 1, and so on, then answers of batches."""
    ranks = sorted(path.glob("samples-*.jsonl"), key=lambda file: (len(file.name), file.name))
    every = [path / "samples.jsonl", *ranks, path / "answers.jsonl"]
    return [file for file in every if file.exists()]


def read_lines(path: Path, stage: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of an audit's stage; what is cut off or broken is passed over."""
    for name in audit_files(path):
        with name.open("rb") as file:
            for raw in file:
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict) and line.get("stage") == stage:
                    yield line


def find_done(path: Path, stage: str) -> dict[int, str]:
    """Return the rows that need no further look: identity to digest of the picture."""
    parts: defaultdict[int, set[int]] = defaultdict(set)
    done: dict[int, str] = {}
    for line in read_lines(path, stage):
        if line.get("score") is None and line.get("reason") not in FINAL:
            continue
        row = int(line["probe"])
        if line.get("part") is not None:
            parts[row].add(line["part"])
        if len(parts[row]) >= line.get("parts", 0):
            done[row] = str(line.get("pixels", ""))
    return done
