"""What the callback costs a training: time by part, and memory, beside the same fit without it.

`python benchmarks/training_overhead.py [--quick]` prints Markdown tables. ResNet18 learns coloured
squares and logs to TensorBoard and, offline, to W&B; the judge is a server on loopback, a process
of its own, that takes a second a picture. Fits with and without the callback alternate, each in a
fresh process, and medians are quoted.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
import torchvision
import wandb
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.callbacks.explaining import Explaining
from lightning_vlmxai.callbacks.publishing import Publisher
from lightning_vlmxai.callbacks.stage_run import StageRun
from lightning_vlmxai.explain.explainer import Explainer
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.judges import vlm as vlm_module
from lightning_vlmxai.rounds.book import RoundBook
from openai_server import OpenAIServer, verdict

LATENCY_S = 1.0
SIDE, BATCH, CLASSES, PROBES = 64, 32, 8, 32
WAITED_FOR = ("attribution", "check", "submission", "collection", "logging")


COUNTED: SimpleQueue[tuple[str, float]] = SimpleQueue()
"""Parts and seconds. Of what can be looked into, an explanation may leave nothing changed."""


class Clock(pl.Callback):
    """Sums the seconds spent in functions that it wraps, by phase; listed before the callback."""

    def __init__(self) -> None:
        self.phase = "before"
        self._began = self._cpu_began = 0.0

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the time in a function of a class or module as that of a part."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                COUNTED.put((f"{self.phase} {part}", time.perf_counter() - start))

        setattr(owner, name, timed)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the training itself: sanity check and rehearsal are over."""
        self.phase = "training"
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count no more: the drain follows."""
        COUNTED.put(("training", time.perf_counter() - self._began))
        COUNTED.put(("cpu", time.process_time() - self._cpu_began))
        self.phase = "after"


class Squares(TensorDataset):
    """Noise with a square whose colour and place tell the class."""

    classes = tuple(f"class {i}" for i in range(CLASSES))

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % CLASSES
        pictures = 0.6 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
        for i, label in enumerate(labels.tolist()):
            top = 8 + 24 * (label // 4)
            pictures[i, label % 3, top : top + 20, 16:40] = 1.0
        super().__init__(pictures, labels)
        self.targets = labels.tolist()


class Module(pl.LightningModule):
    """ResNet18 under SGD."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.resnet18(num_classes=CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return `[B, 8]`."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the cross entropy."""
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the cross entropy."""
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def fit(base_url: str, epochs: int, batches: int, folder: str) -> dict[str, float]:
    """Train, with the callback if there is a judge, and return the seconds of every part."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    clock, asked = Clock(), []
    callbacks: list[pl.Callback] = [clock]
    if base_url:
        explain: Callable[..., Any] = Explainer.__call__
        Explainer.__call__ = lambda *args, **kwargs: (  # type: ignore[method-assign]
            asked.append(args) or explain(*args, **kwargs)  # type: ignore[func-returns-value]
        )
        clock.wrap(StageRun, "rehearse", "rehearsal")
        for name in ("on_validation_batch_end", "on_validation_epoch_end"):
            clock.wrap(VLMExplainCallback, name, "hooks")
        clock.wrap(VLMExplainCallback, "on_train_end", "drain")
        clock.wrap(VLMExplainCallback, "teardown", "drain")
        clock.wrap(vlm_module, "encode_views", "encoding")
        clock.wrap(StageRun, "_explain_together", "attribution")
        clock.wrap(Explaining, "look_at_maps", "check")
        clock.wrap(RoundBook, "open", "submission")
        clock.wrap(RoundBook, "collect", "collection")
        clock.wrap(StageRun, "_publish", "logging")
        for name in ("_write_folder", "_write_pictures"):
            clock.wrap(Publisher, name, "writing")
        judge = VLMJudge("bench", base_url=base_url, api_key_env=None)
        callbacks.append(VLMExplainCallback(judge, probe_size=PROBES, lag=1))
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=[
            TensorBoardLogger(folder),
            WandbLogger(save_dir=folder, offline=True, settings=wandb.Settings(silent=True)),
        ],
        max_epochs=epochs,
    )
    training = DataLoader(Squares(batches * BATCH, 0), BATCH, shuffle=True)
    validation = DataLoader(Squares(4 * BATCH, 1), BATCH)
    start = time.perf_counter()
    trainer.fit(Module(), training, validation)
    seconds: defaultdict[str, float] = defaultdict(float)
    seconds["fit"] = time.perf_counter() - start
    while not COUNTED.empty():
        part, took = COUNTED.get()
        seconds[part] += took
    seconds["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    of_rounds = [args for args in asked if len(args[-1]) == PROBES]
    return {**seconds, **(beside_bare(of_rounds[-1]) if asked else {})}


def beside_bare(args: Any, repeats: int = 15) -> dict[str, float]:
    """Return the seconds of explaining a round's probes, and of bare forwards of the same."""
    explainer, live, probes = args
    module = live.module
    images = torch.stack([probe.input for probe in probes])

    def bare() -> None:
        module.eval()
        with torch.no_grad(), live.context():
            for batch in images.split(explainer.batch_size):
                module(batch)

    seconds = defaultdict(list)
    for _ in range(repeats):
        for name, run in (
            ("bare_s", bare),
            ("explained_s", lambda: explainer(live, probes)),
        ):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def serve(pipe: Connection, latency_s: float) -> None:
    """Answer until the other end of the pipe is closed."""
    with OpenAIServer(lambda _: verdict(3), latency_s=latency_s) as server:
        pipe.send(server.base_url)
        pipe.recv()


def run_apart(base_url: str, epochs: int, batches: int) -> dict[str, float]:
    """Return what `fit` returns, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--fit", folder, "--base-url", base_url]
        command += ["--epochs", str(epochs), "--batches", str(batches)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def report(without: list[dict[str, float]], with_it: list[dict[str, float]]) -> None:
    """Print the tables."""

    def mid(rows: list[dict[str, float]], name: str) -> float:
        return median(row.get(name, 0.0) for row in rows)

    for row in with_it:
        parts = [row.get(f"training {part}", 0.0) for part in WAITED_FOR]
        row["training rest"] = row["training hooks"] - sum(parts)
    trained = mid(without, "training")
    print("| | without | with | with / without |")
    print("|---|---:|---:|---:|")
    for title, name in (
        ("training, s", "training"),
        ("its CPU time with what runs beside it, s", "cpu"),
        ("whole fit with rehearsal and drain, s", "fit"),
        ("peak memory, MiB", "peak_mib"),
    ):
        one, other = mid(without, name), mid(with_it, name)
        print(f"| {title} | {one:.2f} | {other:.2f} | {other / one:.3f} |")
    print("\n| part | s | % of the training | |")
    print("|---|---:|---:|---|")
    waits = "training waits for it"
    for name, where in (
        *((f"training {part}", waits) for part in WAITED_FOR),
        ("training rest", f"{waits}: what else the callback's hooks do"),
        ("training encoding", "beside the training, on the judge's own thread"),
        ("training writing", "beside the training, on the writer's thread"),
        ("before rehearsal", "once, before: imports, all explained, one judged"),
        ("after drain", "once, after: the last round's verdicts"),
    ):
        part, seconds = name.split(maxsplit=1)[1], mid(with_it, name)
        print(f"| {part} | {seconds:.3f} | {share(seconds, trained)} | {where} |")
    asked = [row["training attribution"] + row["training check"] for row in with_it]
    waited = median(row["training hooks"] - s for row, s in zip(with_it, asked, strict=True))
    gap = mid(with_it, "training") - trained - median(asked)
    ratio = median(row["explained_s"] / row["bare_s"] for row in with_it)
    print(
        "\nBeyond attribution and the check of its maps the training waited for "
        f"{share(waited, trained)} % of its time; by the difference of the fits, with what runs "
        f"beside it, {share(gap, trained)} %.\n"
        f"Attribution over a bare forward of the same {PROBES} probes: {ratio:.2f}."
    )


def share(seconds: float, whole: float) -> str:
    """Return a percentage."""
    return f"{100 * seconds / whole:.2f}"


def main() -> None:
    """Measure in alternating processes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", metavar="FOLDER", help="one fit in this process, as JSON")
    parser.add_argument("--base-url", default="")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60, help="an epoch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2 epochs of 4 batches, once")
    arguments = parser.parse_args()
    if arguments.fit:
        given = arguments.base_url, arguments.epochs, arguments.batches, arguments.fit
        print(json.dumps(fit(*given)))
        return
    epochs, batches, repeats = arguments.epochs, arguments.batches, arguments.repeats
    if arguments.quick:
        epochs, batches, repeats = 2, 4, 1
    load = os.getloadavg()[0]
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, LATENCY_S))
    server.start()
    base_url = ours.recv()
    without, with_it = [], []
    for _ in range(repeats):
        without.append(run_apart("", epochs, batches))
        with_it.append(run_apart(base_url, epochs, batches))
    ours.send("done")
    server.join()
    epoch_s = median(row["training"] for row in without) / epochs
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{torch.__version__}, lightning {pl.__version__}; load {load:.1f} at the start; ResNet18, "
        f"{SIDE} px, batches of {BATCH}, {epochs} epochs of {batches} batches ({epoch_s:.1f} s), "
        f"{PROBES} probes, a judge of {LATENCY_S:g} s, lag 1; median of {repeats} fits\n"
    )
    report(without, with_it)


if __name__ == "__main__":
    main()
