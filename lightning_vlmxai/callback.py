"""`VLMExplainCallback`: Lightning's hooks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import IterableDataset

from .attribution import Perturbation
from .datasets import Normalization, find_class_names, find_dataset
from .errors import ConfigurationError, JudgeError, expected
from .explain import Explainer
from .judges import (
    FailureReporter,
    Judge,
    PaidJudge,
    ReferenceMaskJudge,
    describe_failures,
)
from .probe import Item, ProbeReader, ProbeSet, unpack_item
from .quadrants import QUADRANT_METRICS, ROUND_METRICS
from .records import Explanation, Fill, Round
from .rounds import RoundBook, gather_over_ranks
from .sinks import (
    RunFolderSink,
    Sink,
    find_free_folder,
    make_sinks,
    metric_name,
    prefixed_metrics,
)
from .tasks import Classification, Task
from .worker import JudgeWorker


class VLMExplainCallback(pl.Callback):
    """Explains a fixed probe set at every validation and has a judge score where the model looks.

    Each validation of a fit is a round: the probes are explained on the live model, the masked
    pictures go to the judge in the background, and the figures of the round that trails by `lag`
    are logged at that round's own step. The first seconds rehearse one probe end to end, so that
    a wrong key, address, layer or transform fails at once. `validate()` and `test()` wait for
    their verdicts. `fast_dev_run` rehearses and logs nothing.

    Args:
        judge: Scores the masked pictures; `ReferenceMaskJudge()` (overlap with the data set's own
            object masks, not a VLM) if None.
        task: How the model's output is read; `Classification()` if None.
        class_names: In the order of the model's outputs; the data set's `classes`, else numbers.
        target_layer: Dotted name of the layer to explain; the last feature map if None.
        reshape_transform: From that layer's output to a feature map `[B, C, h, w]`, where tokens or
            channels-last maps are not folded as they should be.
        method: Name of an attribution method, or the path of a pytorch-grad-cam class, such as
            `"pytorch_grad_cam.FinerCAM"`.
        perturbation: Bounds of Score-CAM, Ablation-CAM and RISE.
        alpha: Sharpness of the mask, > 0 (Eq. 1).
        beta: Threshold of the mask, in [0, 1] (Eq. 1).
        fill: What stands where the mask takes the picture away: "black" (the paper's), "blur",
            "grey" or "mean".
        threshold: High means `score >= threshold`, in [0, 5].
        probe_size: Number of probes, drawn once, stratified by label.
        seed: Of that draw.
        normalization: Mean and standard deviation a channel that the model's input was normalised
            with; found from a `Normalize` in the data set's transforms if None.
        unpack: Takes a data set's sample apart, where it is not `(image, label)` or
            `(image, label, reference_mask)`.
        lag: How many validations a round may trail before its verdicts are waited for.
        deadline_s: Seconds that this wait lasts at most; later verdicts are unscored(deadline).
        watch_classes: Names of (true) classes whose own figures are logged as well, as
            `vlmxai/class/<name>/<metric>`.
        on_judge_error: "warn" goes on training whatever the judge does, "raise" ends it.
        run_dir: Where samples and pictures are written, after what is there; a fresh `vlmxai`
            beside the logs if None.

    Raises:
        ConfigurationError: For a value out of range; the message says what to change.

    Example:
        >>> callback = VLMExplainCallback(probe_size=32, watch_classes=["cat"])
        >>> callback.metric_names[:2]
        ('vlmxai/correct_high_rate', 'vlmxai/correct_low_rate')
    """

    def __init__(
        self,
        judge: Judge | None = None,
        *,
        task: Task | None = None,
        class_names: Sequence[str] | None = None,
        target_layer: str | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        method: str = "gradcam",
        perturbation: Perturbation | None = None,
        alpha: float = 15.0,
        beta: float = 0.6,
        fill: Fill = "black",
        threshold: float = 2.5,
        probe_size: int = 64,
        seed: int = 0,
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
        unpack: Callable[[Any], Item] = unpack_item,
        lag: int = 1,
        deadline_s: float = 120.0,
        watch_classes: Sequence[str] = (),
        on_judge_error: str = "warn",
        run_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name, value, is_right, rule in (
            ("threshold", threshold, 0 <= threshold <= 5, "in [0, 5]"),
            ("probe_size", probe_size, probe_size >= 1, "at least 1"),
            ("lag", lag, lag >= 0, "at least 0"),
            ("deadline_s", deadline_s, deadline_s > 0, "positive"),
            ("watch_classes", watch_classes, not isinstance(watch_classes, str), "a list of names"),
        ):
            if not is_right:
                raise ConfigurationError(expected(name, rule, repr(value), f"Pass {name} so"))
        self.judge: Judge = judge or ReferenceMaskJudge()
        self._explainer = Explainer(
            task=task or Classification(),
            method=method,
            target_layer=target_layer,
            reshape_transform=reshape_transform,
            perturbation=perturbation or Perturbation(),
            class_names=None if class_names is None else tuple(class_names),
            alpha=alpha,
            beta=beta,
            fill=fill,
        )
        self._threshold = threshold
        self._reader = ProbeReader(
            size=probe_size,
            seed=seed,
            normalization=Normalization.of(normalization),
            unpack=unpack,
        )
        self._lag = lag
        self._deadline_s = deadline_s
        self._watch_classes = tuple(watch_classes)
        self._failures = FailureReporter(on_judge_error)
        self._given_run_dir = None if run_dir is None else Path(run_dir)
        self._run_dir: Path | None = None
        self._latest_round: Round | None = None
        self._saved_fingerprint = ""
        self._next_number = {"fit": 0, "validate": 0, "test": 0}
        self._reset()

    def _reset(self) -> None:
        """Forget what belongs to one call of the trainer."""
        self._worker: JudgeWorker | None = None
        self._book: RoundBook | None = None
        self._sinks: list[Sink] = []
        self._reader.forget()
        self._fingerprint = ""
        self._is_rehearsed = False
        self._world_size = 1

    @property
    def latest_round(self) -> Round | None:
        """The last round whose verdicts are in; None before the first."""
        return self._latest_round

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The full name of every metric that this callback may log."""
        watched = (f"class/{c}/{name}" for c in self._watch_classes for name in QUADRANT_METRICS)
        return tuple(metric_name(name) for name in (*ROUND_METRICS, *watched))

    @property
    def run_dir(self) -> Path | None:
        """Where samples and pictures are written; None before `setup`."""
        return self._run_dir

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the environment, so that what can't work fails before the first batch."""
        self._reset()
        if isinstance(trainer.strategy, (FSDPStrategy, DeepSpeedStrategy)):
            raise ConfigurationError(
                expected(
                    "strategy",
                    "one that keeps the whole model on every rank",
                    type(trainer.strategy).__name__,
                    'Use strategy="ddp", or explain checkpoints in a run of their own',
                )
            )
        if type(pl_module).forward is pl.LightningModule.forward:
            raise ConfigurationError(
                expected(
                    "LightningModule.forward",
                    "defined: it is how probes are explained",
                    f"none in {type(pl_module).__name__}",
                    "Define forward(x) to return the logits",
                )
            )
        self.judge.check()
        self._run_dir = self._given_run_dir or self._dir_beside(trainer)
        self._worker = JudgeWorker(self.judge)
        if isinstance(self.judge, PaidJudge) and not _is_dev_run(trainer):
            self.judge.bind(self._run_dir, world_size=trainer.world_size)
            rounds = _count_rounds(trainer) if stage == "fit" else 1
            estimate = self.judge.estimate(pictures=self._reader.size, rounds=rounds or 1)
            rank_zero_info(f"vlmxai: {'the run' if rounds else 'each validation'} takes {estimate}")
        self._world_size = trainer.world_size
        if trainer.is_global_zero:
            settings = {
                "model": type(pl_module).__name__,
                "judge": self.judge.name,
                "threshold": self._threshold,
                "lag": self._lag,
                "watch_classes": list(self._watch_classes),
                **self._explainer.describe(),
            }
            self._sinks = [*make_sinks(trainer.loggers), RunFolderSink(self._run_dir, settings)]
        rank_zero_info(f"vlmxai: judge {self.judge.name}; samples and pictures in {self._run_dir}")

    def _dir_beside(self, trainer: pl.Trainer) -> Path:
        """Return the run folder beside the logs: a fresh one, unless it is this callback's own."""
        log_dir = trainer.log_dir  # a collective: asked on every rank
        parent = Path(log_dir or trainer.default_root_dir)
        if self._run_dir is not None and self._run_dir.parent == parent:
            return self._run_dir
        return Path(trainer.strategy.broadcast(str(find_free_folder(parent / "vlmxai"))))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first samples of a stream, which can't be read by index."""
        if dataloader_idx == 0:
            self._reader.keep(self._dataset(trainer), batch)

    on_test_batch_end = on_validation_batch_end

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rehearse here where there was no sanity check."""
        dataset = self._dataset(trainer)
        if dataset is None:
            rank_zero_warn("vlmxai: this fit has no validation data, so nothing is explained.")
        elif not self._is_rehearsed and not isinstance(dataset, IterableDataset):
            self._rehearse(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the probes, submit them, collect the round that is due, log it."""
        if trainer.sanity_checking or _is_dev_run(trainer):
            if not self._is_rehearsed:
                self._rehearse(trainer, pl_module)
        else:
            self._run_round(trainer, pl_module)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the probes of the test data and wait for their verdicts."""
        if not _is_dev_run(trainer):
            self._run_round(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the rounds that are still open and write them at their own steps."""
        if self._book is not None:
            for closed in self._book.drain():
                self._publish(closed)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """End the judge's thread; Lightning does not call `teardown` after an exception."""
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End the judge's thread."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on: plain values only."""
        return {"fingerprint": self._fingerprint, "next_number": self._next_number["fit"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting rounds where the checkpoint left off."""
        self._saved_fingerprint = state_dict["fingerprint"]
        self._next_number["fit"] = state_dict["next_number"]

    def _explain(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Explanation]:
        """Explain this rank's probes under the trainer's precision."""
        own = self._probes(trainer).probes[trainer.global_rank :: trainer.world_size]
        return self._explainer(module, own, context=trainer.precision_plugin.forward_context)

    def _rehearse(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Explain all probes and judge one, end to end; log nothing."""
        explanations = self._explain(trainer, module)
        book = self._make_book(lag=0, number=-1)
        # An untrained model's maps may be blank, which says nothing about the judge.
        book.open([e for e in explanations if not e.is_blank][:1], stage="fit", epoch=0, step=0)
        (closed,) = book.drain()
        self._is_rehearsed = True
        verdicts = [sample.verdict for sample in closed.samples]
        if any(v.reason is not None and v.reason.is_setup_fault for v in verdicts):
            told = " ".join(describe_failures(verdicts).values())
            raise JudgeError(f"{self.judge.name} could not score a first probe: {told}")
        self._failures.report(verdicts)
        if isinstance(self._dataset(trainer), IterableDataset):
            # The sanity check sees fewer samples than the validation will.
            self._reader.forget()

    def _run_round(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Explain, submit, collect what is due, log it."""
        stage = str(trainer.state.fn.value) if trainer.state.fn else "fit"
        explanations = self._explain(trainer, module)
        if self._book is None:
            if stage == "fit":
                self._check_fingerprint()
            self._book = self._make_book(
                lag=self._lag if stage == "fit" else 0, number=self._next_number[stage]
            )
        self._book.open(
            explanations, stage=stage, epoch=trainer.current_epoch, step=trainer.global_step
        )
        self._next_number[stage] += 1
        for closed in self._book.collect():
            self._publish(closed)
            # Every rank logs the same to the callback metrics, which monitors read. In a fit the
            # loggers get the figures from the sinks, at the step that they describe.
            logger = False if stage == "fit" else None
            module.log_dict(prefixed_metrics(closed), logger=logger, sync_dist=False)

    def _make_book(self, *, lag: int, number: int) -> RoundBook:
        assert self._worker is not None  # noqa: S101 - made in `setup`
        return RoundBook(
            self._worker,
            lag=lag,
            deadline_s=self._deadline_s,
            threshold=self._threshold,
            watch_classes=self._watch_classes,
            gather=gather_over_ranks if self._world_size > 1 else list,
            fingerprint=self._fingerprint,
            number=number,
        )

    def _check_fingerprint(self) -> None:
        saved, now = self._saved_fingerprint, self._fingerprint
        if saved and saved != now:
            rank_zero_warn(
                f"vlmxai: the probe set differs from the checkpoint's (fingerprint {saved}, now "
                f"{now}): curves before and after are not of the same samples."
            )

    def _publish(self, closed: Round) -> None:
        self._latest_round = closed
        for sink in self._sinks:
            sink.write(closed)
        self._failures.report([sample.verdict for sample in closed.samples])

    def _dataset(self, trainer: pl.Trainer) -> Any:
        loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
        return find_dataset(loaders)

    def _probes(self, trainer: pl.Trainer) -> ProbeSet:
        """Return the probe set; class names are found with it."""
        dataset = self._dataset(trainer)
        probe_set = self._reader.read(dataset)
        self._fingerprint = probe_set.fingerprint
        names = self._explainer.class_names or find_class_names(dataset)
        self._explainer = replace(self._explainer, class_names=names)
        unknown = [c for c in self._watch_classes if names is not None and c not in names]
        if names is not None and unknown:
            raise ConfigurationError(
                expected(
                    "watch_classes",
                    "among the class names",
                    ", ".join(map(repr, unknown)),
                    f"Choose from {', '.join(names[:20])}",
                )
            )
        return probe_set

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()


def _is_dev_run(trainer: pl.Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _count_rounds(trainer: pl.Trainer) -> int | None:
    """Return how many validations a fit will have, as far as its arguments tell."""
    epochs = trainer.max_epochs
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_interval
    if epochs is None or epochs < 0 or every is None or not isinstance(interval, float):
        return None
    return epochs // every * round(1 / interval)
