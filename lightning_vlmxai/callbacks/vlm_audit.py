"""`VLMAuditCallback`: Lightning's hooks of an audit, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from ..attribution import Perturbation
from ..errors import ConfigurationError, expected
from ..explain import Explainer, default_method, fingerprint_weights
from ..judges import FailureReporter, Judge, PaidJudge, ReferenceMaskJudge
from ..probes import (
    Item,
    Normalization,
    Passed,
    ProbeSettings,
    ProbeStream,
    unpack_for,
    unpack_unlabelled,
)
from ..records import Fill
from ..rounds import Ranks
from ..sinks import metric_name
from ..tasks import Classification, EmbeddingTask, Output, Task
from .audit_run import AuditRun
from .audit_settings import AuditSettings
from .environment import check_environment, is_dev_run, tell_estimate
from .measuring import check_figures
from .progress import AuditProgress
from .run_dir import RunDirectory
from .waiting import ctrl_c_ends
from .watching import ValidationWatcher, live_model


class VLMAuditCallback(ValidationWatcher):
    """Explains and has judged every sample of a `validate()`, `test()` or `predict()`.

    It rides on the trainer's own loop, so on its devices, precision, strategy and transforms. At
    each batch's end the batch is explained on the live model and its masked pictures go to the
    judge in the background; what has its verdict is written and forgotten. Where the judge is
    slower the model waits for it, with `max_pending` rows in memory at most. Called again with the
    same `run_dir` an audit that was cut short, by whatever, goes on where it was. In a fit it does
    nothing.

    Args:
        judge: Scores the masked pictures; `ReferenceMaskJudge()` (overlap with the data set's own
            object masks, not a VLM) if None.
        task: How the model's output is read; `Classification()` if None.
        class_names: In the order of the model's outputs; found out if None.
        target_layer: Dotted name of the layer to explain; found out if None.
        reshape_transform: From that layer's output to a feature map `[B, C, h, w]`.
        method: Name of an attribution method, and what None is; see `VLMExplainCallback`.
        perturbation: Bounds of Score-CAM, Ablation-CAM, RISE and Occlusion.
        alpha: Sharpness of the mask, > 0 (Eq. 1).
        beta: Threshold of the mask, in [0, 1] (Eq. 1).
        fill: What stands where the mask hides: "black" (the paper's), "blur", "grey" or "mean".
        threshold: High means `score >= threshold`, in [0, 5].
        normalization: Mean and standard deviation a channel that the model's input was normalised
            with; found out if None.
        unpack: Takes a row of a batch apart; its `Item` may name a row's `file` and give it an
            `index` that no other row has, which then is what the sample is known by.
        picture: From a row of a batch to the picture that the judge sees; found out if None.
        network: Dotted name of the module that goes from picture to logits; found out if None.
        output: Which part of what that module answers are the logits; found out if None.
        loader: Number of the loader whose rows are audited, or of several.
        groups: Fields of a row (a mapping's keys) that are kept beside it, to be compared by.
        faithfulness: Figures of how faithful the maps are, of `trust.FAITHFULNESS`, kept beside
            each row; with all of them a row takes some 90 forwards.
        pictures: Of so many rows at most pictures are kept, most of them of Correct-Low and
            Wrong-High; the others can be drawn again from the data.
        max_pending: How many explained rows may wait for their verdicts at a time.
        on_judge_error: "warn" goes on where a judge fails for a row, "raise" ends the audit; a
            judge that is away altogether ends it in any case.
        run_dir: Where all goes; a fresh `vlmxai` beside the logs if None. With that of an
            unfinished audit of the same model, judge and settings it goes on there. A trainer with
            `fast_dev_run` keeps nothing.

    Raises:
        ConfigurationError: For a value out of range; the message says what to change.

    Example:
        >>> audit = VLMAuditCallback(run_dir="audit", pictures=500)
        >>> audit.progress.judged
        0
    """

    _collector: ProbeStream
    _loader_argument = "loader"
    _is_audit = True

    def __init__(
        self,
        judge: Judge | None = None,
        *,
        task: Task | None = None,
        class_names: Sequence[str] | None = None,
        target_layer: str | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        method: str | None = None,
        perturbation: Perturbation | None = None,
        alpha: float = 15.0,
        beta: float = 0.6,
        fill: Fill = "black",
        threshold: float = 2.5,
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
        unpack: Callable[[Any], Item] | None = None,
        picture: Callable[[Any], Any] | None = None,
        network: str | None = None,
        output: Output | None = None,
        loader: int | Sequence[int] = 0,
        groups: Sequence[str] = (),
        faithfulness: Sequence[str] = (),
        pictures: int = 2000,
        max_pending: int = 128,
        on_judge_error: str = "warn",
        run_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.judge: Judge = judge or ReferenceMaskJudge()
        if isinstance(groups, str):
            raise ConfigurationError(
                expected("groups", "a list of names", repr(groups), f"Pass groups=[{groups!r}]")
            )
        if isinstance(task, EmbeddingTask) and task.has_captions:
            raise ConfigurationError(
                expected(
                    "task",
                    "one whose classes are known before the first row",
                    f"{type(task).__name__}, which ranks captions among those of all probes",
                    "Explain a probe set: `VLMExplainCallback(task=ImageText(), probe_size=512)` "
                    "and `trainer.validate(module, loader)`",
                )
            )
        self._settings = AuditSettings(
            threshold=threshold,
            pictures=pictures,
            max_pending=max_pending,
            groups=tuple(groups),
            faithfulness=check_figures(faithfulness),
        )
        self._explainer = Explainer(
            task=task or Classification(),
            method=method or default_method(task or Classification()),
            target_layer=target_layer,
            reshape_transform=reshape_transform,
            perturbation=perturbation or Perturbation(),
            class_names=None if class_names is None else tuple(class_names),
            alpha=alpha,
            beta=beta,
            fill=fill,
        )
        self._own_unpack = unpack
        self._rows = partial(
            ProbeSettings,
            size=16,
            normalization=Normalization.of(normalization),
            picture=picture,
            network=network,
            output=output,
            are_first=True,
        )
        numbers = [loader] if isinstance(loader, int) else loader
        self._val_loaders = tuple(sorted(numbers))
        self._failures = FailureReporter(on_judge_error)
        self._directory = RunDirectory(None if run_dir is None else Path(run_dir))
        self._collector = self._make_stream("validate")
        self._run: AuditRun | None = None
        self._passed: Passed | None = None
        self._is_judged = False
        self._trial: Path | None = None
        self.metrics: Mapping[str, float] = MappingProxyType({})

    @property
    def run_dir(self) -> Path | None:
        """Where all goes; None before `setup`."""
        return self._directory.path

    @property
    def progress(self) -> AuditProgress:
        """How far this rank has come."""
        return self._run.progress if self._run else AuditProgress()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the environment, and open the run folder."""
        self._run, self.metrics = None, MappingProxyType({})
        if stage == "fit":
            rank_zero_warn(
                "vlmxai: VLMAuditCallback audits validate(), test() and predict(), and does "
                "nothing in a fit: VLMExplainCallback watches that."
            )
            return
        ranks = Ranks(rank=trainer.global_rank, size=trainer.world_size)
        with ranks.together():
            check_environment(trainer, self)
            _check_alone(trainer)
            self.judge.check()
        name = trainer.state.fn.value if trainer.state.fn else stage
        self._collector = self._make_stream(name)
        run_dir = self._directory.find(trainer, ranks=ranks, saved="", is_audit=True)
        if is_dev_run(trainer):  # which tries a few batches, and leaves nothing behind
            trial = tempfile.mkdtemp(prefix="vlmxai-") if trainer.is_global_zero else ""
            self._trial = Path(trial) if trial else None
            run_dir = Path(trainer.strategy.broadcast(trial))
        if isinstance(self.judge, PaidJudge):
            self.judge.bind(run_dir, world_size=trainer.world_size)
        self._run = AuditRun(
            stage=name,
            judge=self.judge,
            explainer=self._explainer,
            stream=self._collector,
            settings=self._settings,
            failures=self._failures,
            run_dir=run_dir,
            # What a module of ours says of the network and the data under it.
            model=getattr(pl_module, "audited", {"model": type(pl_module).__name__}),
            ranks=ranks,
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            is_over=lambda: trainer.received_sigterm,
        )
        rank_zero_info(f"vlmxai: judge {self.judge.name}; samples and pictures in {run_dir}")

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether the rows of the loop that begins are audited."""
        return self._run is not None and not trainer.sanity_checking

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Watch this loop."""
        super().on_validation_start(trainer, pl_module)
        if self._run is not None and self._is_watching:
            # Not in `setup`: a checkpoint is loaded after it.
            self._run.begin(fingerprint_weights(pl_module))
            rows = self._collector.due
            if isinstance(self.judge, PaidJudge) and rows and not is_dev_run(trainer):
                estimate = self.judge.estimate(pictures=rows * trainer.world_size, rounds=1)
                tell_estimate(estimate, rounds=1, task=self._explainer.task)

    on_test_start = on_predict_start = on_validation_start

    on_predict_batch_start = ValidationWatcher.on_validation_batch_start

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the batch and have it judged."""
        super().on_validation_batch_end(
            trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        )
        passed, self._passed = self._passed, None
        if passed is not None and self._run is not None:
            self._run.see(live_model(trainer, pl_module), passed)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the verdicts, and log what the audit comes to."""
        if self._run is None or not self._is_watching:
            return
        count = self._run.finish(live_model(trainer, pl_module))
        if count is None:  # Lightning itself looks for the signal between batches, not here
            raise SIGTERMException
        self._is_judged = True
        self.metrics = MappingProxyType(
            {metric_name(name): value for name, value in count.metrics.items()}
        )
        if not trainer.predicting:  # where nothing can be logged
            pl_module.log_dict(dict(self.metrics), sync_dist=False)

    on_test_epoch_end = on_predict_epoch_end = on_validation_epoch_end

    on_predict_end = ValidationWatcher.on_validation_end

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write the verdicts that are in: what is missing is judged when the audit goes on."""
        self._collector.stop()
        try:
            with ctrl_c_ends(exception):
                if self._run is not None:
                    self._run.conclude()
        finally:
            self._close()
            if self._run is not None and not is_dev_run(trainer):
                rank_zero_info(
                    f"vlmxai: the audit in {self.run_dir} is not finished: the same call, with "
                    f'`run_dir="{self.run_dir}"`, goes on from there.'
                )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End the judge's thread, and write the report."""
        self._close()
        if self._run is not None and not self._is_judged:
            rank_zero_warn(f"vlmxai: this {stage} had no batch, so nothing was audited.")
        is_kept = self._is_judged and not is_dev_run(trainer)
        if is_kept and trainer.is_global_zero and self.run_dir is not None:
            write_report(self.run_dir)
        self._is_judged = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: the settings alone."""
        own: dict[str, Any] = {
            "_run": None,
            "_passed": None,
            "_trial": None,
            "metrics": {},
            "_collector": self._make_stream("validate"),
            "_directory": RunDirectory(self._directory.given),
        }
        return {**vars(self), **own, "_loaders": {}}

    def _take(self, root: nn.Module) -> None:
        self._passed = self._collector.look(root)

    def _make_stream(self, stage: str) -> ProbeStream:
        task = self._explainer.task
        unpack = self._own_unpack
        if unpack is None:
            unpack = unpack_for(task)
            if stage == "predict":
                unpack = partial(unpack_unlabelled, unpack=unpack)
        return ProbeStream(
            self._rows(unpack=unpack), task=task, class_names=self._explainer.class_names
        )

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
        self._directory.release()
        if self._trial is not None:
            shutil.rmtree(self._trial, ignore_errors=True)
            self._trial = None


def _check_alone(trainer: pl.Trainer) -> None:
    """Refuse two audits at once: Lightning would make a mean of what they log.

    Raises:
        ConfigurationError: If there is another.
    """
    every: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    audits = sum(isinstance(one, VLMAuditCallback) for one in every)
    if audits > 1:
        raise ConfigurationError(
            expected(
                "callbacks",
                "with one VLMAuditCallback",
                f"{audits}",
                "Audit once with each judge, in a `run_dir` of its own",
            )
        )


_TELL = """
import sys
from lightning_vlmxai.cli import main
sys.exit(main(["report", sys.argv[1]]) or main(["summary", sys.argv[1]]))
"""


def write_report(run_dir: Path) -> None:
    """Write the report and print the summary, in a process that takes its memory with it."""
    done = subprocess.run(  # noqa: S603 - this interpreter, our own text, and a path
        [sys.executable, "-c", _TELL, str(run_dir)], check=False
    )
    if done.returncode:
        rank_zero_warn(
            f"vlmxai: the audit is done, but its report failed: try `vlmxai report {run_dir}`."
        )
