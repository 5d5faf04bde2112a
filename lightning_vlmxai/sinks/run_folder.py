"""The run folder: everything a round knows, as JSON lines and PNG pictures."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..explain import apply_mask
from ..judges import tell_attended
from ..records import Explanation, JudgedControl, Round, Sample
from .lines import describe_sample, dump_line, save_picture, to_grey_image
from .pictures import masked_image, to_image

_log = logging.getLogger(__name__)


class RunFolderSink:
    """Writes a folder that can be read without this package.

    `run.json` says how the run was made; `rounds.jsonl` has a line for each round;
    `samples.jsonl` a line for each sample and round; `images/<stage>/<index>.png` is the picture
    of a probe, `<index>-reference.png` beside it its reference mask, where there is one,
    `images/<stage>-<round>/<index>.png` what the judge saw of it, and `<index>-saliency.png` the
    saliency map in grey. A resumed run goes on in the folder
    and appends rounds again that came after its checkpoint: the last line of a (stage, round,
    probe) stands. The folder is made when the first round is written.

    `controls.jsonl` has a line for each picture with a known answer that was judged with a round,
    with its `kind` and `right_answer` (`images/<stage>-<round>/control-<number>.png` is what
    the judge saw): these are no samples, and count in no rate.

    `gate.jsonl` has a line for each gate that fired.

    `late.jsonl` has lines like those of `samples.jsonl`, with `is_late`, for verdicts that came
    after their deadline; `samples.jsonl` keeps these as unscored, and no figure counts them.

    Args:
        path: Of the folder.
        settings: What goes into `run.json`: plain values only.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._settings = settings
        self._pictured: set[str] = set()
        self._is_told = False

    def write(self, closed: Round) -> None:
        """Append a round."""
        if self._pictured and not self.path.exists() and not self._is_told:
            self._is_told = True
            _log.warning("%s was deleted; it is made anew, without its former rounds.", self.path)
        for folder in (closed.stage, f"{closed.stage}-{closed.number:04d}"):
            (self.path / "images" / folder).mkdir(parents=True, exist_ok=True)
        settings = {**self._settings, "fingerprint": closed.fingerprint}
        (self.path / "run.json").write_text(json.dumps(settings, indent=2) + "\n")
        lines = []
        for sample in closed.samples:
            record = self._describe(closed, sample)
            save_picture(masked_image(sample), self.path / record["image"])
            save_picture(to_grey_image(sample.explanation.saliency), self.path / record["saliency"])
            picture = self.path / record["picture"]
            if record["picture"] not in self._pictured or not picture.exists():
                save_picture(to_image(sample.explanation.pixels), picture)
                self._pictured.add(record["picture"])
                self._save_reference(sample.explanation, record["reference_mask"])
            lines.append(dump_line(record))
        controls = []
        for number, judged in enumerate(closed.controls):
            record = _describe_control(closed, judged, number)
            request = judged.control.request
            masked = apply_mask(request.pixels, request.mask, fill=request.fill)
            save_picture(to_image(masked), self.path / record["image"])
            controls.append(dump_line(record))
        # Pictures first: a line never points to a picture that is not there.
        if controls:
            with (self.path / "controls.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(controls)
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
            file.write(dump_line({**head, **closed.metrics}))

    def write_late(self, late: Round) -> None:
        """Append verdicts that came after the deadline of their round."""
        with (self.path / "late.jsonl").open("a", encoding="utf-8") as file:
            for sample in late.samples:
                record = self._describe(late, sample)
                for name in ("reference", "reference_mask"):
                    del record[name]  # the masks are gone by then; `samples.jsonl` has them
                file.write(dump_line({**record, "is_late": True}))

    def _save_reference(self, e: Explanation, name: str | None) -> None:
        if e.reference_mask is not None and name is not None:
            save_picture(to_grey_image(e.reference_mask), self.path / name)

    def _describe(self, closed: Round, sample: Sample) -> dict[str, Any]:
        """Return a line of `samples.jsonl`."""
        whole = Path("images", closed.stage)
        masked = Path("images", f"{closed.stage}-{closed.number:04d}")
        stem = f"{sample.explanation.probe_index:06d}"
        part = sample.explanation.part
        of_part = stem if part is None else f"{stem}-{part}"
        has_mask = sample.explanation.reference_mask is not None
        return {
            **describe_sample(closed, sample),
            "image": (masked / f"{of_part}.png").as_posix(),
            "saliency": (masked / f"{of_part}-saliency.png").as_posix(),
            "picture": (whole / f"{stem}.png").as_posix(),
            "reference_mask": (whole / f"{stem}-reference.png").as_posix() if has_mask else None,
            "judge": self._settings.get("judge"),
        }


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a run folder's `run.json` holds; nothing where there is none."""
    try:
        settings = json.loads((path / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def add_gate(path: Path, record: Mapping[str, Any]) -> None:
    """Append a line to `gate.jsonl` of a run folder: a gate fired.

    Args:
        path: Of the folder.
        record: `round`, `epoch`, `monitor`, `value` and `text`, which says why.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / "gate.jsonl").open("a", encoding="utf-8") as file:
        file.write(dump_line(record))


def claim_folder(base: Path) -> Path:
    """Make the folder, or the first of `<name>-1`, `<name>-2`, ... that isn't there, and return it.

    Only one of several processes can have made it.
    """
    for number in itertools.count():
        path = base.with_name(f"{base.name}-{number}") if number else base
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError  # numbers don't end


def _describe_control(closed: Round, judged: JudgedControl, number: int) -> dict[str, Any]:
    """Return a line of `controls.jsonl`."""
    control, v = judged.control, judged.verdict
    return {
        "round": closed.number,
        "stage": closed.stage,
        "epoch": closed.epoch,
        "step": closed.step,
        "fingerprint": closed.fingerprint,
        "control": number,
        "kind": control.kind,
        "right_answer": "High" if control.is_good else "Low",
        "probe": control.request.probe_index,
        "named": control.request.label_name,
        "score": v.score,
        "reason": None if v.reason is None else v.reason.value,
        "detail": v.detail,
        "evaluation": v.evaluation,
        "justification": v.justification,
        "attends_to": tell_attended(v.attends_to),
        "spread": v.spread,
        "is_cached": v.is_cached,
        "calls": v.usage.calls,
        "tokens": v.usage.tokens,
        "cost_usd": v.usage.cost_usd,
        "latency_s": v.latency_s,
        "image": f"images/{closed.stage}-{closed.number:04d}/control-{number:03d}.png",
    }
