"""The page on which a person looks through suspicious labels."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageOps

from ..records import Quadrant
from ..trust import Suspects
from .html import render_page, write_page
from .labels import LabelledRound, Suspect
from .page import PICTURE_SIDE, SALIENCY_SIDE, describe_quadrants, list_facts, name_run
from .pictures import MAX_BYTES, Wanted, address_of, is_picture, load_pictures
from .rating import name_sample

SCRIPTS = ("dom.js", "export.js", "labels.js")
METHOD_NAMES = {
    "combined": "Combined",
    "wrong_high": "Wrong-High",
    "confident_learning": "Confident learning",
    "prune_by_noise_rate": "Prune by noise rate",
    "low_self_confidence": "Low self-confidence",
    "low_normalized_margin": "Low normalised margin",
}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BATCH = 64


def write_label_page(
    labelled: LabelledRound,
    found: Mapping[str, Suspects],
    suspects: Sequence[Suspect],
    method: str,
    out: Path,
    files: Path | None = None,
) -> Path:
    """Write the page of suspicious labels and return its path.

    Pictures are those of the run folder; where it kept none, the file itself is drawn small, if
    its path can be read here.

    Args:
        labelled: The samples.
        found: What the methods say of them.
        suspects: What the page shows.
        method: By whose order it shows them first.
        out: Of the page.
        files: Folder that the samples' file names start in; the current one if None.
    """
    sources, notices = _load(labelled.run.path, suspects, out, files)
    numbers = {path: number for number, path in enumerate(sources)}
    address = quote(f"{address_of(labelled.run.path, out)}/report.html")
    page = render_page(
        "labels.html",
        scripts=SCRIPTS,
        data={
            "quadrants": describe_quadrants(),
            "threshold": labelled.run.threshold,
            "digest": digest_labels(labelled),
            "total": len(labelled.samples),
            "method": method,
            "methods": [
                {"id": name, "name": METHOD_NAMES[name], "flagged": int(of.flagged.sum())}
                for name, of in found.items()
            ],
            "suspects": [_describe(of, numbers) for of in suspects],
        },
        pictures=list(sources.values()),
        title=f"Suspicious labels · {name_run(labelled.run)}",
        facts=[("Round", labelled.key), ("Labels", f"{len(labelled.samples):,}"),
               *list_facts(labelled.run)],
        report=address if (labelled.run.path / "report.html").is_file() else "",
        notices=[*labelled.run.notices, *labelled.notices, *notices],
    )  # fmt: skip
    return write_page(page, out)


def digest_labels(labelled: LabelledRound) -> str:
    """Return 16 hexadecimal digits that tell these labels from those of other data."""
    told = [
        (s.file or s.probe, label)
        for s, label in zip(labelled.samples, labelled.labels.tolist(), strict=True)
    ]
    return hashlib.sha256(json.dumps([labelled.key, sorted(map(str, told))]).encode()).hexdigest()[
        :16
    ]


def _describe(of: Suspect, numbers: Mapping[str, int]) -> dict[str, Any]:
    sample, order = of.sample, list(Quadrant)
    return {
        "name": name_sample(sample),
        "probe": sample.probe,
        "file": sample.file,
        "label": of.label,
        "suggested": of.suggested,
        "p": round(of.label_probability, 6),
        "other": round(of.suggested_probability, 6),
        "score": sample.score,
        "reason": sample.reason,
        "quadrant": None if sample.quadrant is None else order.index(sample.quadrant),
        "evaluation": sample.evaluation,
        "ranks": dict(of.ranks),
        "flagged": list(of.flagged_by),
        "image": numbers.get(sample.image),
        "saliency": numbers.get(sample.saliency),
        "picture": numbers.get(sample.picture, numbers.get(_drawn(sample.file))),
    }


def _drawn(file: str) -> str:
    """Return what a picture that is drawn from its file goes by among those of the folder."""
    return f"file:{file}"


def _load(
    run_dir: Path, suspects: Sequence[Suspect], out: Path, files: Path | None
) -> tuple[dict[str, str], list[str]]:
    """Return the pictures' sources, and notices of what is drawn again and what has none."""
    root = run_dir.resolve()
    wanted = [
        Wanted(path, side)
        for of in suspects
        for path, side in ((of.sample.picture, PICTURE_SIDE), (of.sample.image, PICTURE_SIDE),
                           (of.sample.saliency, SALIENCY_SIDE))
        if is_picture(root, path)
    ]  # fmt: skip
    sources = load_pictures(run_dir, address_of(run_dir, out), wanted).sources
    absent = [of.sample.file for of in suspects if of.sample.picture not in sources]
    names = list(dict.fromkeys(name for name in absent if name))
    spent = sum(map(len, sources.values()))
    drawn = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(names), _BATCH):
            if spent >= MAX_BYTES:
                break
            batch = names[start : start + _BATCH]
            made = pool.map(lambda name: draw_file((files or Path()) / name), batch)
            for name, source in zip(batch, made, strict=True):
                if source is not None:
                    sources[_drawn(name)] = source
                    spent += len(source)
                    drawn += 1
    notices = []
    if drawn:
        notices.append(
            f"{drawn:,} pictures were not kept by the run and are drawn from their files: whole, "
            "as they are now, without what the data set does to them."
        )
    missing = [name for name in absent if _drawn(name) not in sources]
    if missing:
        known = next((name for name in missing if name), None)
        why = f"such as {known!r}, can't be read here" if known else "are not known"
        full = " or no longer fit into the page" if spent >= MAX_BYTES else ""
        notices.append(
            f"{len(missing):,} suspects have no picture: the run kept none, and their files, "
            f"{why}{full}. `--files FOLDER` says where the file names start."
        )
    return sources, notices


def draw_file(file: Path) -> str | None:
    """Return a picture file, small, as what an `img` element's `src` takes; None if it is none."""
    try:
        if not file.is_file():
            return None
        with Image.open(file, formats=_FORMATS) as image:
            image.draft("RGB", (2 * PICTURE_SIDE, 2 * PICTURE_SIDE))  # JPEG: no more than needed
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            buffer = io.BytesIO()
            small.save(buffer, "WEBP", quality=80, method=2)
    # Pillow raises many kinds for a broken file, SyntaxError and its own bomb warning's among them.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
