"""`VLMExplainCallback`: Lightning's hooks, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import IterableDataset

from .datasets import Normalization, find_class_names, find_dataset
from .errors import ConfigurationError, JudgeError, ProbeError, expected
from .explain import Explainer
from .judges import Judge, ReferenceMaskJudge
from .probe import Item, ProbeSet, build_probe_set, read_probes, unpack_item
from .quadrants import QUADRANT_METRICS, ROUND_METRICS
from .records import Explanation, Round, UnscoredReason
from .rounds import RoundBook, gather_over_ranks
from .sinks import RunFolderSink, Sink, make_sinks, metric_name, prefixed_metrics
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
        method: Attribution method.
        alpha: Sharpness of the mask, > 0 (Eq. 1).
        beta: Threshold of the mask, in (0, 1) (Eq. 1).
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
        run_dir: Where samples and pictures are written; `vlmxai` beside the logs if None.

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
        method: str = "gradcam",
        alpha: float = 15.0,
        beta: float = 0.6,
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
            ("alpha", alpha, alpha > 0, "positive"),
            ("beta", beta, 0 < beta < 1, "in (0, 1)"),
            ("threshold", threshold, 0 <= threshold <= 5, "in [0, 5]"),
            ("probe_size", probe_size, probe_size >= 1, "at least 1"),
            ("lag", lag, lag >= 0, "at least 0"),
            ("deadline_s", deadline_s, deadline_s > 0, "positive"),
            (
                "on_judge_error",
                on_judge_error,
                on_judge_error in ("warn", "raise"),
                "warn or raise",
            ),
            ("watch_classes", watch_classes, not isinstance(watch_classes, str), "a list of names"),
        ):
            if not is_right:
                raise ConfigurationError(expected(name, rule, repr(value), f"Pass {name} so"))
        self.judge: Judge = judge or ReferenceMaskJudge()
        self._explainer = Explainer(
            task=task or Classification(),
            method=method,
            target_layer=target_layer,
            class_names=None if class_names is None else tuple(class_names),
            alpha=alpha,
            beta=beta,
        )
        self._threshold = threshold
        self._probe_size = probe_size
        self._seed = seed
        self._normalization = (
            None
            if normalization is None
            else Normalization(mean=tuple(normalization[0]), std=tuple(normalization[1]))
        )
        self._unpack = unpack
        self._lag = lag
        self._deadline_s = deadline_s
        self._watch_classes = tuple(watch_classes)
        self._on_judge_error = on_judge_error
        self._given_run_dir = None if run_dir is None else Path(run_dir)
        self._run_dir: Path | None = None
        self._latest_round: Round | None = None
        self._warned: set[UnscoredReason] = set()
        self._saved: dict[str, Any] = {}
        self._next_number = {"fit": 0, "validate": 0, "test": 0}
        self._reset()

    def _reset(self) -> None:
        """Forget what belongs to one call of the trainer."""
        self._worker: JudgeWorker | None = None
        self._probe_set: ProbeSet | None = None
        self._book: RoundBook | None = None
        self._sinks: list[Sink] = []
        self._streamed: list[tuple[int, Item]] = []
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

    # Set-up ---------------------------------------------------------------------------------

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
        log_dir = trainer.log_dir  # a collective: asked on every rank
        beside_logs = Path(log_dir or trainer.default_root_dir) / "vlmxai"
        self._run_dir = self._given_run_dir or beside_logs
        self._worker = JudgeWorker(self.judge)
        self._world_size = trainer.world_size
        if trainer.is_global_zero:
            settings = self._describe(pl_module)
            self._sinks = [*make_sinks(trainer.loggers), RunFolderSink(self._run_dir, settings)]
        rank_zero_info(f"vlmxai: judge {self.judge.name}; samples and pictures in {self._run_dir}")

    def _describe(self, module: pl.LightningModule) -> dict[str, Any]:
        e = self._explainer
        return {
            "model": type(module).__name__,
            "judge": self.judge.name,
            "task": type(e.task).__name__,
            "method": e.method,
            "target_layer": e.target_layer,
            "alpha": e.alpha,
            "beta": e.beta,
            "threshold": self._threshold,
            "lag": self._lag,
            "seed": self._seed,
            "watch_classes": list(self._watch_classes),
        }

    # Hooks ----------------------------------------------------------------------------------

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
        self._keep_streamed(trainer, batch, dataloader_idx)

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
        fingerprint = self._probe_set.fingerprint if self._probe_set else ""
        return {"fingerprint": fingerprint, "next_number": self._next_number["fit"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting rounds where the checkpoint left off."""
        self._saved = dict(state_dict)
        self._next_number["fit"] = state_dict["next_number"]

    # The work -------------------------------------------------------------------------------

    def _explain(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Explanation]:
        """Explain this rank's probes under the trainer's precision."""
        own = self._probes(trainer).probes[trainer.global_rank :: trainer.world_size]
        return self._explainer(module, own, context=trainer.precision_plugin.forward_context)

    def _rehearse(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Explain all probes and judge one, end to end; log nothing."""
        explanations = self._explain(trainer, module)
        book = self._make_book(lag=0)
        # An untrained model's maps may be blank, which says nothing about the judge.
        book.open([e for e in explanations if not e.is_blank][:1], stage="fit", epoch=0, step=0)
        (closed,) = book.drain()
        self._is_rehearsed = True
        for sample in closed.samples:
            verdict = sample.verdict
            if verdict.reason is not None and verdict.reason.is_setup_fault:
                raise JudgeError(
                    expected(
                        "judge",
                        "able to score a first probe",
                        f"unscored({verdict.reason.value}): {verdict.detail}",
                        f"Check the settings of {self.judge.name}",
                    )
                )
        self._warn_of_failures(closed)
        if isinstance(self._dataset(trainer), IterableDataset):
            # The sanity check sees fewer samples than the validation will.
            self._probe_set, self._streamed = None, []

    def _run_round(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Explain, submit, collect what is due, log it."""
        stage = str(trainer.state.fn.value) if trainer.state.fn else "fit"
        explanations = self._explain(trainer, module)
        if self._book is None:
            self._check_fingerprint(stage)
            self._book = self._make_book(lag=self._lag if stage == "fit" else 0, stage=stage)
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

    def _make_book(self, *, lag: int, stage: str = "fit") -> RoundBook:
        assert self._worker is not None  # noqa: S101 - made in `setup`
        assert self._probe_set is not None  # noqa: S101 - made before anything is explained
        return RoundBook(
            self._worker,
            lag=lag,
            deadline_s=self._deadline_s,
            threshold=self._threshold,
            watch_classes=self._watch_classes,
            gather=gather_over_ranks if self._world_size > 1 else list,
            fingerprint=self._probe_set.fingerprint,
            number=self._next_number[stage],
        )

    def _check_fingerprint(self, stage: str) -> None:
        assert self._probe_set is not None  # noqa: S101 - made before anything is explained
        now, saved = self._probe_set.fingerprint, self._saved.get("fingerprint")
        if stage == "fit" and saved and saved != now:
            rank_zero_warn(
                f"vlmxai: the probe set differs from the checkpoint's (fingerprint {saved}, now "
                f"{now}): curves before and after are not of the same samples."
            )

    def _publish(self, closed: Round) -> None:
        self._latest_round = closed
        for sink in self._sinks:
            sink.write(closed)
        self._warn_of_failures(closed)

    def _warn_of_failures(self, closed: Round) -> None:
        """Tell once of each cause of unscored samples, or raise if that was asked for."""
        failed = [s.verdict for s in closed.samples]
        for reason, count in Counter(v.reason for v in failed if v.reason).items():
            detail = next(v.detail for v in failed if v.reason is reason)
            if self._on_judge_error == "raise" and reason is not UnscoredReason.BLANK_SALIENCY:
                raise JudgeError(
                    expected(
                        "judge",
                        'without failures, as on_judge_error="raise" asks',
                        f"unscored({reason.value}): {detail}",
                        'Mend the judge, or pass on_judge_error="warn"',
                    )
                )
            if reason not in self._warned:
                self._warned.add(reason)
                rank_zero_warn(
                    f"vlmxai: {count} of {len(closed.samples)} samples of round {closed.number} "
                    f"are unscored ({reason.value}): {detail}. They count in no rate; `coverage` "
                    "tells how many were judged."
                )

    # Probes ---------------------------------------------------------------------------------

    def _dataset(self, trainer: pl.Trainer) -> Any:
        return find_dataset(
            trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
        )

    def _probes(self, trainer: pl.Trainer) -> ProbeSet:
        """Return the probe set; at the first call it is chosen and class names are found."""
        if self._probe_set is None:
            dataset = self._dataset(trainer)
            if isinstance(dataset, IterableDataset):
                self._probe_set = build_probe_set(self._streamed, dataset, self._normalization)
            else:
                self._probe_set = read_probes(
                    dataset,
                    size=self._probe_size,
                    seed=self._seed,
                    normalization=self._normalization,
                    unpack=self._unpack,
                )
            if self._explainer.class_names is None:
                self._explainer = replace(self._explainer, class_names=find_class_names(dataset))
            self._check_watch_classes()
        return self._probe_set

    def _check_watch_classes(self) -> None:
        names = self._explainer.class_names
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

    def _keep_streamed(self, trainer: pl.Trainer, batch: Any, dataloader_idx: int) -> None:
        if self._probe_set is not None or dataloader_idx != 0:
            return
        if not isinstance(self._dataset(trainer), IterableDataset):
            return
        if not isinstance(batch, (list, tuple)) or not isinstance(batch[0], torch.Tensor):
            raise ProbeError(
                expected(
                    "batch of an iterable data set",
                    "(images, labels) or (images, labels, reference_masks)",
                    type(batch).__name__,
                    "Collate to a tuple of tensors, or use a map-style validation data set",
                )
            )
        for i in range(len(batch[0])):
            if len(self._streamed) < self._probe_size:
                item = self._unpack(tuple(part[i] for part in batch))
                self._streamed.append((len(self._streamed), item))

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()


def _is_dev_run(trainer: pl.Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))
