"""`QuadrantStopping`: early stopping that counts only rounds that are fresh and judged."""

from __future__ import annotations

import sys
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..errors import ConfigurationError, expected
from ..records import Round
from ..rounds import (
    BOUNDED_METRICS,
    Answer,
    Faults,
    RoundSource,
    ShortcutSource,
    count_answered,
    response_of,
)
from ..sinks import add_gate, metric_name
from ..trust import round_auc
from .monitors import nearest

_AUC = metric_name("judge/auc")
BOUNDS = ("point", "lower", "upper")


PATIENCE_IN_VAIN = 3
"""After how many rounds that a gate could not look at it says so."""


class QuadrantStopping(EarlyStopping):
    """Ends a run whose quadrants say that it has learnt a shortcut.

    Lightning's `EarlyStopping`, checked once for each closed round in which enough was judged: a
    validation without a new round, or one whose judge was out, neither stops a run nor burns
    patience. With `lag` rounds come in later, each of them still once.

    Args:
        monitor: A metric of `VLMExplainCallback`, such as `"vlmxai/correct_low_rate"` or
            `"vlmxai/class/cat/correct_low_rate"` (of a class in its `watch_classes`).
        divergence_threshold: Stop once the metric is beyond this.
        mode: "min" if the metric should fall ("beyond" is above), "max" if it should rise.
        patience: Stop after so many rounds that count without improvement; None never does.
        min_delta: What counts as an improvement.
        bound: What is looked at: the "point" itself, or the "lower" or "upper" end of its 95 %
            interval. With `mode="min"` a divergence of the "lower" end is one that chance does
            not explain.
        min_coverage: Rounds with a smaller share of judged probes don't count, in [0, 1].
        min_judged: Nor do those with fewer judged probes (of its class, for a class's metric), at
            least 1. Last verdicts that stand count by the share of the drawn that were answered,
            here and for `min_coverage`: with the judge out they count for nothing.
        min_judge_auc: Nor do rounds whose judge failed its controls, in [0, 1]; 0 asks for none. It
            failed where the AUC of the round's own controls or of the last rounds' is below, where
            none was answered, or where it has fallen from what it was at first (see
            `controls` of `VLMExplainCallback`, which has to be above 0).
        verbose: Say more.

    Raises:
        ConfigurationError: For a value out of range, or a bound of a metric that has none; in
            `setup`, if there is no `VLMExplainCallback` or it never logs such a metric; the
            message names the nearest.

    Example:
        >>> gate = QuadrantStopping(divergence_threshold=0.4, bound="lower", min_judged=30)
        >>> gate.monitor
        'vlmxai/correct_low_rate_lower'
    """

    def __init__(
        self,
        monitor: str = "vlmxai/correct_low_rate",
        *,
        divergence_threshold: float | None = None,
        mode: str = "min",
        patience: int | None = None,
        min_delta: float = 0.0,
        bound: str = "point",
        min_coverage: float = 0.0,
        min_judged: int = 1,
        min_judge_auc: float = 0.0,
        verbose: bool = False,
    ) -> None:
        for name, is_right, rule, got in (
            ("bound", bound in BOUNDS, f"one of {', '.join(BOUNDS)}", bound),
            ("min_coverage", 0 <= min_coverage <= 1, "in [0, 1]", min_coverage),
            ("min_judged", min_judged >= 1, "at least 1", min_judged),
            ("min_judge_auc", 0 <= min_judge_auc <= 1, "in [0, 1]", min_judge_auc),
        ):
            if not is_right:
                raise ConfigurationError(expected(name, rule, repr(got), f"Pass {name} so"))
        self._asked = monitor
        if bound != "point":
            if monitor.rsplit("/", 1)[-1] not in BOUNDED_METRICS:
                raise ConfigurationError(
                    expected(
                        "bound",
                        '"point" for a metric without an interval',
                        f"{bound!r} of {monitor!r}",
                        f"Those with one are {', '.join(BOUNDED_METRICS)}",
                    )
                )
            monitor = f"{monitor}_{bound}"
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=sys.maxsize if patience is None else patience,
            verbose=verbose,
            mode=mode,
            # A metric is there from the first closed round on, which with lag > 0 is not the
            # first validation.
            strict=False,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=False,
        )
        self._min_coverage = min_coverage
        self._min_judged = min_judged
        self._min_judge_auc = min_judge_auc
        self._source: RoundSource | None = None
        self._seen: int | None = None
        self._earlier: Round | None = None
        self._in_vain = 0
        self._faults = Faults()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the callback to listen to, and check that it logs the metric."""
        super().setup(trainer, pl_module, stage)
        sources = [c for c in trainer.callbacks if isinstance(c, RoundSource)]  # type: ignore[attr-defined]
        if not sources:
            raise ConfigurationError(
                expected(
                    "callbacks",
                    "with a VLMExplainCallback, whose rounds QuadrantStopping counts",
                    "none",
                    "Add one to the Trainer",
                )
            )
        names = [name for source in sources for name in source.metric_names]
        self._source = next((s for s in sources if self.monitor in s.metric_names), None)
        if self._source is None:
            raise ConfigurationError(
                expected(
                    "monitor",
                    "a metric that VLMExplainCallback logs",
                    repr(self._asked),
                    f"Nearest are {', '.join(nearest(self._asked, names, 3))}; a class's own "
                    "metrics need its name in `watch_classes`",
                )
            )
        # Rounds of each fit count from 0; what is there by now is another's.
        self._seen, self._earlier = None, self._source.latest_round
        if self._min_judge_auc and _AUC not in self._source.metric_names:
            raise ConfigurationError(
                expected(
                    "min_judge_auc",
                    "0 without controls, by which a judge is known",
                    self._min_judge_auc,
                    "Pass VLMExplainCallback(controls=8)",
                )
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check once for each closed round in which enough was judged."""
        latest = self._source.latest_round if self._source else None
        if latest is None or latest.stage != "fit" or not self._is_open(trainer):
            return
        if latest is self._earlier or latest.number == self._seen:
            return
        self._seen = latest.number
        lack = self._lack(latest)
        self._in_vain = self._in_vain + 1 if lack else 0
        if self._in_vain == PATIENCE_IN_VAIN:
            rank_zero_warn(
                f"vlmxai: QuadrantStopping could not look at {self.monitor} in "
                f"{PATIENCE_IN_VAIN} rounds: {lack}."
            )
        if not lack:
            super().on_validation_end(trainer, pl_module)
            if trainer.should_stop:
                rank_zero_info(
                    f"vlmxai: QuadrantStopping ends the run: {self._explain(latest)} {_ADVICE}"
                )
                self._note(trainer, latest)
                source: object = self._source
                if isinstance(source, ShortcutSource):
                    source.look_for_shortcuts(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to count each round once."""
        return {**super().state_dict(), "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the checkpoint left off."""
        super().load_state_dict(state_dict)
        self._seen = state_dict["seen"]

    @staticmethod
    def _is_open(trainer: pl.Trainer) -> bool:
        return not (trainer.sanity_checking or trainer.should_stop)

    def _lack(self, latest: Round) -> str:
        """Return what a round lacks to count; empty if it counts."""
        judged, _ = self._count(latest)
        if _name_in_round(self.monitor) not in latest.metrics:
            return f"no such figure, of {judged} judged probes"
        if judged < self._min_judged:
            return f"{judged} judged probes, of min_judged={self._min_judged}"
        if latest.metrics["coverage"] < self._min_coverage:
            return f"a coverage of {latest.metrics['coverage']:.2f}, of {self._min_coverage:g}"
        return self._lack_of_judge(latest) if self._min_judge_auc else ""

    def _lack_of_judge(self, latest: Round) -> str:
        """Return how a round's judge failed its controls; empty if it did not."""
        own, pooled = round_auc(latest.controls), latest.metrics.get(_name_in_round(_AUC))
        if own is None or pooled is None:
            return "no answer to its good or to its bad controls, so that its judge is not known"
        if latest.metrics["judge/alarm"]:
            return "a judge that has fallen from what it was at first"
        least = self._min_judge_auc
        if min(own, pooled) < least:
            return f"a judge's AUC of {own:.2f} (last rounds {pooled:.2f}), of {least:g}"
        return ""

    def _count(self, latest: Round) -> tuple[int, int]:
        """Return how many probes the metric rests on: judged, and all. Of a class, its own."""
        kind, _, rest = _name_in_round(self.monitor).partition("/")
        if kind != "class":
            return count_answered(latest.samples), len(latest.samples) + latest.missing
        name = rest.rsplit("/", 1)[0]
        own = [s for s in latest.samples if s.explanation.label_name == name]
        response = response_of(map(Answer.of, latest.samples))
        return count_answered(own, response), len(own)

    def _explain(self, latest: Round) -> str:
        """Return why the run ends and what to do, in words."""
        name = _name_in_round(self._asked)
        point = latest.metrics[name]
        interval = ""
        if f"{name}_lower" in latest.metrics:
            lower, upper = latest.metrics[f"{name}_lower"], latest.metrics[f"{name}_upper"]
            interval = f" (95 % interval {lower:.3f} to {upper:.3f})"
        end = "" if self.monitor == self._asked else f" by its {self.monitor[-5:]} end"
        limit = self.divergence_threshold
        seen = latest.metrics[_name_in_round(self.monitor)]
        if limit is not None and (seen > limit if self.mode == "min" else seen < limit):
            why = f"is{end} {'above' if self.mode == 'min' else 'below'} {limit:g}"
        else:
            why = f"has{end} not improved in {self.wait_count} rounds"
        judged, probes = self._count(latest)
        return (
            f"{self._asked} = {point:.3f}{interval} {why}. "
            f"It is that of round {latest.number} (epoch {latest.epoch}, step {latest.step}) with "
            f"{judged} of {probes} probes judged."
        )

    def _note(self, trainer: pl.Trainer, latest: Round) -> None:
        """Keep in the run folder that the gate fired, and why."""
        folder = self._source.run_dir if self._source else None
        if folder is None or not trainer.is_global_zero:
            return
        record = {
            "round": latest.number,
            "epoch": latest.epoch,
            "monitor": self._asked,
            "value": latest.metrics[_name_in_round(self._asked)],
            "text": f"The gate fired in epoch {trainer.current_epoch}: {self._explain(latest)}",
        }
        with self._faults.passed_over("Noting that the gate fired", "so the report lacks it"):
            add_gate(folder, record)


_ADVICE = (
    "Look at its samples in the run folder or the logger: if the model attends to a shortcut, mend "
    "the training data of these classes; if it does not, raise the limit and resume from the last "
    "checkpoint."
)


def _name_in_round(monitor: str) -> str:
    """Return a metric's name without the prefix that it is logged by."""
    return monitor.split("/", 1)[1]
