"""A dashboard, pictures and the judge's words to TensorBoard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from ..records import Quadrant, Round, Sample
from .base import metric_name
from .pictures import QUADRANT_TAGS, QUADRANT_TITLES, caption, examples
from .sheets import round_sheets
from .words import escape_markdown, markdown_table

Layout = dict[str, dict[str, list[Any]]]


class TensorBoardSink:
    """Writes a round to TensorBoard at the step of the round.

    With the first round: the layout of the custom scalars tab, and the settings as a text. They
    are no hyperparameters there: TensorBoard keeps the first set that a run writes and drops the
    others, so that ours would hide the user's, or be hidden by them.

    With each round: the finding, a montage of masked images and the judge's words for each
    quadrant that has any, the filmstrip, the table of classes, and why samples are unscored.

    Args:
        logger: Lightning's TensorBoard logger.
        settings: How the run was made; `watch_classes` get charts of their own.
    """

    def __init__(self, logger: TensorBoardLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False

    def announce(self, _closed: Round) -> None:
        """Begin the logger's run, if it isn't yet: two threads must not do so at once."""
        _ = self._logger.experiment

    def write(self, closed: Round) -> None:
        """Write pictures and texts of a round."""
        writer = self._logger.experiment
        watched = tuple(self._settings.get("watch_classes", ()))
        texts = _words(closed)
        if not self._is_begun:
            self._is_begun = True
            values = {
                name: ", ".join(map(str, v)) if isinstance(v, list) else str(v)
                for name, v in self._settings.items()
            }
            texts["settings"] = markdown_table(("setting", "value"), values.items())
            if closed.stage == "fit":
                writer.add_custom_scalars(make_layout(watched))
        for name, sheet in round_sheets(closed, watched).items():
            tag = metric_name(name, closed.stage)
            writer.add_image(tag, np.asarray(sheet), global_step=closed.step, dataformats="HWC")
        for name, text in texts.items():
            writer.add_text(metric_name(name, closed.stage), text, global_step=closed.step)

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Write a text under `alerts`."""
        told = f"**{escape_markdown(title)}**\n\n{escape_markdown(text)}"
        self._logger.experiment.add_text(metric_name("alerts"), told, global_step=step)


def make_layout(watch_classes: Sequence[str]) -> Layout:
    r"""Return the charts of the custom scalars tab.

    TensorBoard colours lines by run and not by tag, so that each quadrant has a chart of its own
    with its name above it. A multiline chart takes regular expressions, and smooths. A margin chart
    takes three tags (value, lower, upper) and shows points as they are; where there is no interval,
    all three are the value.

    Example:
        >>> layout = make_layout(["c++"])
        >>> layout["vlmxai"]["Accuracy and Correct-Low"][1]
        ['vlmxai/accuracy$', 'vlmxai/correct_low_rate$']
        >>> layout["vlmxai, watched classes"]["c++: Correct-Low, 95 % interval"][1][0]
        'vlmxai/class/c++/correct_low_rate'
    """

    def margin(name: str, *ends: str) -> list[Any]:
        return ["Margin", [metric_name(f"{name}{end}") for end in ends or ("", "", "")]]

    interval = ("", "_lower", "_upper")
    both = [f"{re.escape(metric_name(name))}$" for name in ("accuracy", "correct_low_rate")]
    layout: Layout = {
        "vlmxai": {
            "Accuracy and Correct-Low": ["Multiline", both],
            "Correct-Low, 95 % interval": margin("correct_low_rate", *interval),
        }
    }
    if watch_classes:
        layout["vlmxai, watched classes"] = {
            f"{name}: Correct-Low, 95 % interval": margin(
                f"class/{name}/correct_low_rate", *interval
            )
            for name in watch_classes
        }
    layout["vlmxai, other figures"] = {
        "Average score": margin("average_score"),
        **{
            QUADRANT_TITLES[quadrant]: margin(f"{quadrant.value}_rate")
            for quadrant in QUADRANT_TAGS
            if quadrant is not Quadrant.CORRECT_LOW
        },
    }
    return layout


def _words(closed: Round) -> dict[str, str]:
    """Return the texts of a round as Markdown, by name without prefix."""
    texts = {
        f"judge/{tag}": "\n\n".join(map(_sample_words, samples))
        for quadrant, tag in QUADRANT_TAGS.items()
        if (samples := examples(closed, quadrant))
    }
    if closed.finding:
        texts["finding"] = "\n".join(f"- {escape_markdown(told)}" for told in closed.finding)
    unscored = [s.verdict for s in closed.samples if s.verdict.reason is not None]
    if unscored:
        first = {v.reason: v.detail for v in reversed(unscored)}
        texts["unscored"] = markdown_table(
            ("reason", "samples", "the first of them"),
            (
                (reason.value, str(count), first[reason])
                for reason, count in Counter(v.reason for v in unscored).most_common()
                if reason is not None
            ),
        )
    return texts


def _sample_words(sample: Sample) -> str:
    e = sample.explanation
    title = f"{caption(sample)} · probe {e.probe_index}"
    words = [f"**{escape_markdown(title)}**", escape_markdown(sample.verdict.evaluation)]
    if sample.verdict.justification:
        words.append(f"Why this score: {escape_markdown(sample.verdict.justification)}")
    return "\n\n".join(filter(None, words))
