"""`VLMExplainCallback`: Lightning's hooks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from ..attribution import Perturbation
from ..explain import Explainer, default_method
from ..judges import FailureReporter, Judge, PaidJudge, ReferenceMaskJudge
from ..probes import (
    Item,
    Normalization,
    ProbeCollector,
    ProbeSettings,
    unpack_for,
)
from ..records import Fill, Round
from ..sinks import prefixed_metrics
from ..tasks import Classification, Output, Task
from .environment import (
    check_environment,
    count_rounds,
    is_dev_run,
    logged_step,
    may_be_last,
    ranks_of,
    tell_estimate,
)
from .monitors import warn_of_callbacks, warn_of_schedulers
from .round_settings import RoundSettings, nothing_yet
from .run_dir import RunDirectory
from .stage_run import StageRun
from .training_pictures import TrainingPictures
from .waiting import ctrl_c_ends, waiting_bar
from .watching import ValidationWatcher, leaves_to_audit, live_model


class VLMExplainCallback(ValidationWatcher):
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
        class_names: In the order of the model's outputs; if None, those of data set or data module,
            where every label that was seen fits, else numbers.
        target_layer: Dotted name of the layer to explain, perhaps with a run and functions behind
            it, as in `"norm[1].relu()"`; the last that all of the picture passes if None.
        reshape_transform: From that layer's output to a feature map `[B, C, h, w]`, where tokens or
            channels-last maps are not folded as they should be.
        method: Name of an attribution method, or the path of a pytorch-grad-cam class, such as
            `"pytorch_grad_cam.FinerCAM"`; `"auto"` is Grad-CAM at the last layer whose maps show
            what predictions hang on, CAM or Ablation-CAM where gradients are cut, else Occlusion.
            If None, Grad-CAM; of image-text tasks `"auto"`, which tries `"clip_exact"` first.
        perturbation: Bounds of Score-CAM, Ablation-CAM, RISE and Occlusion.
        alpha: Sharpness of the mask, > 0 (Eq. 1).
        beta: Threshold of the mask, in [0, 1] (Eq. 1).
        fill: What stands where the mask hides: "black" (the paper's), "blur", "grey" or "mean".
        threshold: High means `score >= threshold`, in [0, 5].
        probe_size: Number of probes, chosen once among the rows of a validation, each class by its
            share.
        seed: Of that choice.
        normalization: Mean and standard deviation a channel that the model's input was normalised
            with; if None, those that lie about, where the pixels prove them.
        unpack: Takes a row of a batch apart, where it is not `(image, label)`, `(image, label,
            reference_mask)` or a mapping with customary keys; its `Item` may name a row's `file`.
        picture: From a row of a batch to the picture that the judge sees, `[3, H, W]`, uint8 or in
            [0, 1], of the network's input's size; found out if None.
        network: Dotted name of the module that goes from picture to logits, where a validation
            step calls several; found by watching if None.
        output: Which part of what that module answers are the logits: a key, an attribute, a
            place (`1`, `"head.0"`), or a function; found by labels and class names if None.
        val_loader: Number of the validation loader whose rows are explained, or of several.
        min_per_class: The least number of probes of each class in `watch_classes`.
        lag: How many rounds a round may trail before its verdicts are waited for: those of round N
            are collected when round N + lag is explained, or at the end of the fit.
        every_n_validations: A round is at every n-th validation of the fit, counted on if resumed.
        deadline_s: Seconds that this wait lasts at most. What comes later is kept in `late.jsonl`,
            and is unscored(deadline) in all figures.
        watch_classes: Names of (true) classes whose own figures are logged as well, as
            `vlmxai/class/<name>/<metric>`.
        isolation: How training is kept from the explanations: "auto" borrows the network where the
            rehearsal, with a copy, leaves all as it was, and else explains a copy each round;
            "borrow" and "copy" do one of them and look once; "trust" borrows and doesn't look.
        judged_share: Of a round's probes that is judged, in (0, 1]: those whose prediction changed
            and a sample. For the others last verdicts stand; rates and intervals allow for it.
        controls: So many pictures with known answers, drawn anew, are judged with each round: they
            count in no rate, and say as `vlmxai/judge/auc` and the like how good the judge is.
        faithfulness: Figures of how faithful the maps are, of `trust.FAITHFULNESS`, logged as
            `vlmxai/faithfulness/<name>`; some take 20 forwards a probe and more.
        find_shortcuts: At the end of the fit, and when a gate fires, say which classes' right
            answers rest on something else, on what, and what erasing and pasting it does to the
            model's predictions: in the log, the loggers, `shortcuts.json` and the report.
        on_judge_error: "warn" goes on training whatever the judge does, "raise" ends it.
        run_dir: Where samples and pictures are written, after what is there. If None, a resumed
            run goes on in the folder of its checkpoint, and any other makes a fresh `vlmxai`
            beside the logs. Pass one to branch off a second run from a checkpoint.

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
        method: str | None = None,
        perturbation: Perturbation | None = None,
        alpha: float = 15.0,
        beta: float = 0.6,
        fill: Fill = "black",
        threshold: float = 2.5,
        probe_size: int = 64,
        seed: int = 0,
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
        unpack: Callable[[Any], Item] | None = None,
        picture: Callable[[Any], Any] | None = None,
        network: str | None = None,
        output: Output | None = None,
        val_loader: int | Sequence[int] = 0,
        min_per_class: int = 8,
        lag: int = 1,
        every_n_validations: int = 1,
        deadline_s: float = 120.0,
        watch_classes: Sequence[str] = (),
        isolation: str = "auto",
        judged_share: float = 1.0,
        controls: int = 0,
        faithfulness: Sequence[str] = (),
        find_shortcuts: bool = False,
        on_judge_error: str = "warn",
        run_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.judge: Judge = judge or ReferenceMaskJudge()
        self._settings = RoundSettings(
            threshold=threshold,
            lag=lag,
            every_n_validations=every_n_validations,
            deadline_s=deadline_s,
            watch_classes=watch_classes,
            isolation=isolation,
            judged_share=judged_share,
            controls=controls,
            faithfulness=faithfulness,
            find_shortcuts=find_shortcuts,
            seed=seed,
        )
        self._copies = isolation in ("auto", "copy")
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
        self._probes = ProbeSettings(
            size=probe_size,
            seed=seed,
            normalization=Normalization.of(normalization),
            unpack=unpack or unpack_for(task),
            picture=picture,
            network=network,
            output=output,
            watch_classes=tuple(watch_classes),
            min_per_class=min_per_class,
        )
        numbers = [val_loader] if isinstance(val_loader, int) else val_loader
        self._val_loaders = tuple(sorted(numbers))
        self._collector = self._make_collector()
        self._failures = FailureReporter(on_judge_error)
        self._directory = RunDirectory(None if run_dir is None else Path(run_dir))
        self._latest_round: Round | None
        self._loaded: dict[str, Any]
        self._next_number: dict[str, int]
        self._validations: int
        vars(self).update(nothing_yet())
        self._fit: StageRun | None = None
        self._run: StageRun | None = None

    @property
    def latest_round(self) -> Round | None:
        """The last round whose verdicts are in; None before the first."""
        return self._latest_round

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The full name of every metric that this callback may log."""
        return self._settings.metric_names

    @property
    def run_dir(self) -> Path | None:
        """Where samples and pictures are written; None before `setup`."""
        return self._directory.path

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the environment, so that what can't work fails before the first batch."""
        self._collector = self._make_collector()
        self._run = None
        with ranks_of(trainer).together():
            check_environment(trainer, self)
            self.judge.check()
        if stage == "predict" or leaves_to_audit(trainer, stage):
            return
        if stage == "fit":
            warn_of_callbacks(trainer, self.metric_names, **self._settings.pace)
        else:
            self._begin(trainer, pl_module, rounds=1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the run folder: by now a checkpoint's state is loaded."""
        rounds = count_rounds(trainer, self._settings.every_n_validations)
        self._begin(trainer, pl_module, rounds=rounds)
        self._fit = self._run

    def _begin(
        self, trainer: pl.Trainer, module: pl.LightningModule, *, rounds: int | None
    ) -> None:
        stage = str(trainer.state.fn.value) if trainer.state.fn else "fit"
        saved: dict[str, Any] = {}
        if stage == "fit":
            saved, self._loaded = self._loaded, {}
        before, ranks = self._directory.path, ranks_of(trainer)
        run_dir = self._directory.find(trainer, ranks=ranks, saved=saved.get("run_dir", ""))
        if before not in (None, run_dir) and not saved:
            # A folder of its own, so rounds of its own: a second fit counts from 0.
            self._next_number, self._validations = nothing_yet()["_next_number"], 0
        self._run = StageRun(
            stage=stage,
            judge=self.judge,
            explainer=self._explainer,
            collector=self._collector,
            settings=self._settings,
            failures=self._failures,
            run_dir=run_dir,
            loggers=trainer.loggers if trainer.is_global_zero else None,
            model_name=type(module).__name__,
            ranks=ranks,
            first_round=self._next_number[stage],
            saved=saved.get("run"),
            is_over=lambda: trainer.received_sigterm,
            is_last=lambda: may_be_last(trainer),
        )
        if isinstance(self.judge, PaidJudge) and not is_dev_run(trainer):
            self.judge.bind(run_dir, world_size=trainer.world_size)
            pictures = self._probes.size + self._settings.controls
            estimate = self.judge.estimate(pictures=pictures, rounds=rounds or 1)
            tell_estimate(estimate, rounds=rounds, task=self._explainer.task)
        rank_zero_info(f"vlmxai: judge {self.judge.name}; samples and pictures in {run_dir}")

    def _make_collector(self) -> ProbeCollector:
        names, task = self._explainer.class_names, self._explainer.task
        return ProbeCollector(self._probes, task=task, class_names=names)

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether the validation that begins is one whose rows are needed."""
        every = self._settings.every_n_validations if self._run is self._fit else 1
        is_round = trainer.sanity_checking or (self._validations + 1) % every == 0
        return self._run is not None and self._run.needs_probes and is_round

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of what can't work."""
        if not trainer.enable_validation:
            rank_zero_warn("vlmxai: this fit has no validation data, so nothing is explained.")
        warn_of_schedulers(trainer, self.metric_names, **self._settings.pace)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the probes, submit them, collect the round that is due, log it."""
        if self._run is None:  # left to an audit
            return
        if trainer.sanity_checking or is_dev_run(trainer):
            if not self._run.is_rehearsed:
                self._run.rehearse(live_model(trainer, pl_module))
                self._run.forget_probes()
            return
        if self._run is self._fit:
            self._validations += 1
            if self._validations % self._settings.every_n_validations:
                return
        self._run_round(trainer, pl_module)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the probes of the test data and wait for their verdicts."""
        if self._run is not None and not is_dev_run(trainer):
            self._run_round(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the rounds that are still open, write them at their own steps, and report."""
        if self._run is not None:
            self._run.take_up()
            with waiting_bar(trainer, self._run.awaited) as on_verdict:
                for closed in self._run.drain(on_verdict):
                    self._latest_round = closed
                    # Too late for self.log, and what sweepers read after the fit.
                    figures = {k: torch.tensor(v) for k, v in prefixed_metrics(closed).items()}
                    trainer.callback_metrics.update(figures)
            self.look_for_shortcuts(trainer, pl_module)
            self._run.finish()

    def look_for_shortcuts(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look for shortcuts in the fit's latest round, if `find_shortcuts`: a gate asks for it."""
        if self._run is not None and self._run is self._fit:
            training = TrainingPictures(trainer, self._probes.unpack)
            live = live_model(trainer, pl_module)
            self._run.look_for_shortcuts(live, self._latest_round, training)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the rounds of the last checkpoint of a fit: Lightning trains no more."""
        if self._run is not None and not self._run.is_finished:
            self.on_train_end(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write what is judged by now, and the report: Lightning does not call `teardown`."""
        self._collector.stop()
        try:
            with ctrl_c_ends(exception):
                if self._run is not None:
                    self._run.conclude()
        finally:
            self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End the judge's thread; report what `validate()` or `test()` found."""
        if self._run is not None and stage != "fit":
            self._run.finish()
        self._close()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: the settings, and a checkpoint's state not yet used.

        Thread, files and rounds are this callback's: a copy starts its own.
        """
        own: dict[str, Any] = {"_run": None, "_fit": None, "_collector": self._make_collector()}
        own["_directory"] = RunDirectory(self._directory.given)
        return {**vars(self), **own, **({} if self._fit is None else nothing_yet())}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on, open rounds included: values and tensors."""
        if self._fit is None:
            return self._loaded
        return {
            "run_dir": str(self.run_dir.absolute()) if self.run_dir else "",
            "validations": self._validations,
            "next_number": self._next_number["fit"],
            "run": self._fit.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint left off."""
        self._loaded, self._fit = state_dict, None
        self._validations = state_dict["validations"]
        self._next_number["fit"] = state_dict["next_number"]

    def _run_round(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert self._run is not None  # noqa: S101 - made in `_begin`
        stage = self._run.stage
        live = live_model(trainer, module)
        if stage == "fit" and not self._run.is_rehearsed:
            self._run.rehearse(live)
        closed = self._run.run_round(live, epoch=trainer.current_epoch, step=logged_step(trainer))
        self._next_number[stage] = self._run.next_round
        if closed:
            self._latest_round = closed[-1]
            # Every rank logs the same to the callback metrics, which monitors read. In a fit the
            # loggers get the figures from the sinks, at the step that they describe.
            logger = False if stage == "fit" else None
            module.log_dict(prefixed_metrics(closed[-1]), logger=logger, sync_dist=False)

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
        self._directory.release()
