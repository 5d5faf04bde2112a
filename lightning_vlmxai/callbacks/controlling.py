"""Controls beside the rounds of a run: drawn anew for each, and what they say of the judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from ..explain import Explainer
from ..judges import Judge, describe_failures
from ..records import Control, Explanation, Round
from ..rounds import Faults
from ..trust import Drawn, JudgeWatch, draw_controls, subjects_of


class Controlling:
    """Draws so many controls for each round, and adds the judge's figures to closed ones.

    Every rank draws the same ones from what all have explained. Without controls it does nothing.

    Args:
        count: Of controls in a round; 0 for none.
        judge: That is asked.
        explainer: Whose masks they have.
        threshold: High means `score >= threshold`.
        seed: Of the choice, beside the round's number.
        doubt: Is told what could not be drawn; once of each cause.
        faults: Passes over what fails: then a round has no controls.
    """

    def __init__(
        self,
        count: int,
        *,
        judge: Judge,
        explainer: Explainer,
        threshold: float,
        seed: int,
        doubt: Callable[[str], None],
        faults: Faults,
    ) -> None:
        self._count = count
        self._reads_labels = bool(getattr(judge, "reads_labels", True))
        self._explainer = explainer
        self._seed = seed
        self._doubt = doubt
        self._faults = faults
        self._watch = JudgeWatch(threshold)
        self.names: Sequence[str] = ()
        """Of the classes, as far as they are known."""

    def draw(self, explanations: Sequence[Explanation], number: int, stage: str) -> list[Control]:
        """Return the controls of a round: the same for the same explanations and names."""
        if not self._count or not explanations:
            return []
        drawn = Drawn(controls=())
        with self._faults.passed_over("Drawing controls", "so this round has none"):
            drawn = draw_controls(
                subjects_of(explanations),
                self._count,
                class_names=self.names,
                alpha=self._explainer.alpha,
                beta=self._explainer.beta,
                fill=self._explainer.fill,
                seed=self._seed,
                number=number,
                stage=stage,
                reads_labels=self._reads_labels,
            )
        for note in drawn.notes:
            self._doubt(note)
        if not (drawn.controls or drawn.notes or self._faults.last):
            self._doubt(
                "there are no controls: this judge reads no labels, and no probe has a reference "
                "mask. Return (image, label, reference_mask) from the data set."
            )
        return list(drawn.controls)

    def look(self, closed: Round) -> Round:
        """Return a closed round with the judge's figures in its metrics; warn if it fell."""
        metrics, told = self._watch.look(closed.number, closed.controls)
        if told:
            rank_zero_warn(f"vlmxai: {told}")
        verdicts = [sample.verdict for sample in closed.samples]
        is_answered = any(v.score is not None and not v.is_reused for v in verdicts)
        if metrics.get("judge/answered") == 0.0 and is_answered:
            why = " ".join(describe_failures([c.verdict for c in closed.controls]).values())
            self._doubt(f"no control of a round was answered, where probes were. {why}")
        return replace(closed, metrics={**closed.metrics, **metrics}) if metrics else closed

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from: plain values; nothing without controls."""
        if not self._count:
            return {}
        return {**self._watch.state_dict(), "names": list(self.names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the checkpoint left off."""
        if self._count and state:
            self._watch.load_state_dict(state)
            self.names = tuple(state["names"])
