"""Audits of many small pictures: memory, time over what is unavoidable, and several ranks.

`python benchmarks/audit.py` prints

- the peak memory of an audit of 50,000 pictures over that of one of 2,000;
- its time over the larger of explaining alone and ideal judging (a scripted judge of 5 ms);
- how much faster two ranks are than one where the judge is the limit (0.2 s, 16 at a time a rank),
  and whether they find the same;
- what the run folder takes on the disk.

Explaining alone is the trainer's own loop with an explainer on each batch: no probes, judge, lines
or pictures. Times are those of the loop, without imports and report; each run is a process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import Probe, Verdict, VLMAuditCallback
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, KnownTargets, LiveModel
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.sinks import count_audit
from lightning_vlmxai.sinks.audit_folder import read_lines

MEAN, STD = 0.5, 0.25
FAST_S, SLOW_S, AT_A_TIME = 0.005, 0.2, 16


class Pictures(Dataset[tuple[Tensor, int]]):
    """Seeded noise of 32 x 32 pixels in ten classes."""

    classes = tuple("abcdefghij")

    def __init__(self, count: int) -> None:
        self.targets = [index % 10 for index in range(count)]
        self._noise = torch.randint(0, 256, (4096,), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        # As quick as reading may be: it is not what is measured.
        own = self._noise[:3072].roll(index) + index // 4096
        return ((own % 256).view(3, 32, 32) / 255 - MEAN) / STD, self.targets[index]


class Classifier(pl.LightningModule):
    """Six convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, stride=2, padding=1), nn.ReLU()]
        self.network = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)
        )

        with torch.no_grad():  # so that no map is blank, and each row is judged
            self.network[-1].weight.abs_()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, 10]`."""
        logits: Tensor = self.network(images)
        return logits

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log a loss."""
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]), sync_dist=True)


class Scripted:
    """A judge that answers after some time, by the sample's number, and remembers nothing."""

    name = "scripted"

    def __init__(self, delay_s: float) -> None:
        self.concurrency = AT_A_TIME
        self._delay_s = delay_s

    def check(self) -> None:
        """Need nothing."""

    async def open(self) -> None:
        """Need nothing."""

    async def close(self) -> None:
        """Hold nothing."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Answer."""
        await asyncio.sleep(self._delay_s)
        text = f"The kept region of sample {request.probe_index} lies partly on the object."
        return Verdict.scored(request.probe_index % 11 / 2, evaluation=text, justification=text)


class Alone(pl.Callback):
    """Explains each batch, and does nothing else."""

    def __init__(self) -> None:
        self._explainer, self._known = Explainer(target_layer="network.14"), KnownTargets()

    def on_validation_batch_end(self, trainer: pl.Trainer, module: Any, *given: Any) -> None:
        """Explain."""
        images, labels = given[1]
        probes = [
            Probe(index=row, call=None, pixels=image, target=label)  # type: ignore[arg-type]
            for row, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        self._explainer.explain_call(
            LiveModel(module),
            call=Call.of_images(images),
            probes=probes,
            rows=range(len(probes)),
            known=self._known,
        )


class Clock(pl.Callback):
    """Takes the time of the loop: from its start to the end of its epoch, verdicts and all."""

    seconds = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._started


def run(kind: str, rows: int, ranks: int, folder: Path) -> dict[str, float]:
    """Run one loop in this process, and return its seconds and peak memory in MiB."""
    warnings.filterwarnings("ignore")
    vlm_audit.write_report = lambda _: None
    delay_s = SLOW_S if kind == "slow" else FAST_S
    if kind == "alone":
        observer: pl.Callback = Alone()
    else:
        observer = VLMAuditCallback(
            Scripted(delay_s),
            run_dir=folder / "run",
            target_layer="network.14",
            normalization=([MEAN], [STD]),
        )
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=DDPStrategy() if ranks > 1 else "auto",
        callbacks=[clock, observer],
        logger=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )
    trainer.validate(Classifier(), DataLoader(Pictures(rows), batch_size=64), verbose=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": clock.seconds, "peak": peak}


def measure(kind: str, rows: int, folder: Path, ranks: int = 1) -> dict[str, float]:
    """Run one loop in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "told.json"
    command = [sys.executable, __file__, "--one", kind, str(rows), str(ranks), str(folder)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **threads}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    told: dict[str, float] = json.loads(out.read_text())
    return told


def found(folder: Path) -> dict[int, tuple[Any, ...]]:
    """Return what an audit found of each sample."""
    kept = ("score", "quadrant", "label", "prediction", "confidence", "evaluation", "pixels")
    lines = read_lines(folder / "run", "validate")
    return {line["probe"]: tuple(line[name] for name in kept) for line in lines}


def show(name: str, value: float, goal: str, is_met: bool, detail: str) -> None:
    """Print a line of the table."""
    print(
        f"{name:<58}{value:>8.2f}  {goal:<8}{'met' if is_met else 'MISSED':<8}{detail}", flush=True
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, rows, ranks, folder = given.one
        told = run(kind, int(rows), int(ranks), Path(folder))
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            (Path(folder) / "told.json").write_text(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        few = measure("fast", given.few, base / "few")
        alone = measure("alone", given.rows, base / "alone")
        many = measure("fast", given.rows, base / "many")
        memory = many["peak"] / few["peak"]
        show(
            f"peak memory, {given.rows:,} rows over {given.few:,}", memory, "<= 1.05",
            memory <= 1.05, f"{many['peak']:.0f} and {few['peak']:.0f} MiB",
        )  # fmt: skip
        judging = given.rows * FAST_S / AT_A_TIME
        least = max(alone["seconds"], judging)
        wall = many["seconds"] / least
        show(
            "time over the larger of explaining alone and ideal judging", wall, "<= 1.15",
            wall <= 1.15,
            f"{many['seconds']:.1f} s; explaining alone {alone['seconds']:.1f} s, judging "
            f"{judging:.1f} s",
        )  # fmt: skip
        size = sum(file.stat().st_size for file in (base / "many").rglob("*") if file.is_file())
        pictures = sum(1 for _ in (base / "many").rglob("*.png"))
        print(f"run folder of {given.rows:,} rows: {size / 2**20:.1f} MiB, {pictures:,} pictures")
        one = measure("slow", given.few, base / "one")
        two = measure("slow", given.few, base / "two", ranks=2)
        speed = one["seconds"] / two["seconds"]
        show(
            f"two ranks, judge of {SLOW_S:g} s, {AT_A_TIME} at a time a rank", speed, ">= 1.8",
            speed >= 1.8, f"{one['seconds']:.1f} s and {two['seconds']:.1f} s",
        )  # fmt: skip
        counts = [count_audit(base / name / "run", "validate") for name in ("one", "two")]
        same = found(base / "one") == found(base / "two") and counts[0] == counts[1]
        print(f"two ranks find what one finds, to the last digit: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
