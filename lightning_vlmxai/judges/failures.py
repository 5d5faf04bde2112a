"""What failed verdicts are told as: one message per cause, warned of once or raised."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence

from ..errors import JudgeError
from ..records import UnscoredReason, Verdict
from .checks import one_of
from .server_errors import is_blind, needs_no_format

_ABOUT_PICTURES = frozenset({UnscoredReason.BAD_REQUEST, UnscoredReason.SERVER_ERROR})
_REMEDIES = {
    UnscoredReason.AUTHENTICATION: "Check the key in the variable that `api_key_env` names, and "
    "that it belongs to the server of `base_url`",
    UnscoredReason.BAD_REQUEST: "Check `model` (does it take pictures?) and `request`",
    UnscoredReason.BLANK_SALIENCY: "If this goes on, pass another `target_layer` or `method`",
    UnscoredReason.BROKEN_JSON: "Check `base_url`: it usually ends in /v1",
    UnscoredReason.CONNECTION: "Check `base_url` and that the server runs",
    UnscoredReason.DEADLINE: "Raise `deadline_s`, raise the judge's `concurrency`, or explain "
    "fewer probes",
    UnscoredReason.EMPTY_ANSWER: "Raise the token limit in `request`, or try another model",
    UnscoredReason.CONTENT_FILTER: "The provider's filter holds these pictures back: another model "
    "may take them",
    UnscoredReason.FORBIDDEN: "Ask at the provider why: the key's rights, the region, or these "
    "pictures",
    UnscoredReason.HTML_ANSWER: "Check `base_url`: it usually ends in /v1",
    UnscoredReason.NOT_FOUND: "Check `model` and `base_url`",
    UnscoredReason.NO_REFERENCE_MASK: "Return (image, label, reference_mask) from the data set",
    UnscoredReason.OVER_BUDGET: "Raise the judge's `budget`, or explain fewer probes",
    UnscoredReason.PENDING: "Read the batch's results: `vlmxai batch read RUN results.jsonl`",
    UnscoredReason.QUEUE_FULL: "Explain fewer probes, or raise the judge's `concurrency`",
    UnscoredReason.QUOTA_EXHAUSTED: "Add credit at the provider, or use another key or model",
    UnscoredReason.RATE_LIMIT: "Raise `call_timeout_s`, or explain fewer probes",
    UnscoredReason.SERVER_ERROR: "Look at the server's own log or status page",
    UnscoredReason.TIMEOUT: "Look whether the server still works; if it is slow, raise `timeout_s` "
    "and `call_timeout_s`, or lower `concurrency`",
    UnscoredReason.TOO_LARGE: 'Pass picture_format="jpeg" or a smaller `min_side`',
    UnscoredReason.TRUNCATED: "Raise the answer's token limit in `request`",
    UnscoredReason.UNPARSEABLE: "Try a stronger model, or a style that asks for less",
}


_BY_WORDS: tuple[tuple[str, str], ...] = (
    (r"pass base_url=", ""),  # the details say what to do
    (r"has no model", "Pass one of these as `model`"),
    (
        r"the body is cut off",
        "The connection or a proxy cuts answers off: look at its limits",
    ),
    (r"no choice|choice has no message", "Look at the server's own log: it made no answer"),
    (r"called a tool", 'Pass request={"tool_choice": "none"}, or another model'),
    (
        r"thoughts have no end|thought and did not answer",
        'Raise the token limit in `request`, or think less: request={"reasoning_effort": "low"}',
    ),
    (r"context", "Start the server with a longer context, or lower the token limit in `request`"),
    (r"no connected db", "Start LiteLLM with a database, or pass its master key"),
    (r"Loading model", "Pass `wait_s=` with the seconds that the server takes to load"),
    (r"next call may be made", "Raise `call_timeout_s`, or explain fewer probes"),
    (r"which scale|scores from 0 to", "Try a style that asks for less, or a stronger model"),
)
"""Remedies that fit what was said better than the reason's own."""


def _remedy(reason: UnscoredReason, detail: str) -> str:
    if needs_no_format(detail) and reason in _ABOUT_PICTURES:
        if is_blind(detail):
            return "Name a `model` that takes pictures (llama.cpp: start it with --mmproj)"
        return 'The server can\'t read the picture: pass picture_format="jpeg" or `min_side=64`'
    for pattern, remedy in _BY_WORDS:
        if re.search(pattern, detail, re.IGNORECASE):
            return remedy
    return _REMEDIES.get(reason, "")


def describe_failures(verdicts: Sequence[Verdict]) -> dict[UnscoredReason, str]:
    """Return one message for each reason that occurs, the most frequent first.

    Example:
        >>> verdicts = [Verdict.scored(4), Verdict.unscored(UnscoredReason.NOT_FOUND, "HTTP 404")]
        >>> print(describe_failures(verdicts)[UnscoredReason.NOT_FOUND])
        1 of 2 samples unscored (not_found): HTTP 404. Check `model` and `base_url`.
    """
    count = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
    messages = {}
    for reason, times in count.most_common():
        detail = next(verdict.detail for verdict in verdicts if verdict.reason is reason)
        message = f"{times} of {len(verdicts)} samples unscored ({reason.value})"
        parts = [part for part in (detail.rstrip("."), _remedy(reason, detail)) if part]
        messages[reason] = f"{message}: {'. '.join(parts)}." if parts else f"{message}."
    return messages


_SAME_SHARE = 0.95
_LEAST_SAME = 16


class SameScores:
    """Notices a judge that gives different pictures one score, over two rounds."""

    def __init__(self) -> None:
        self._last: list[float] = []
        self.is_told = False

    def look(self, verdicts: Sequence[Verdict]) -> str:
        """Return what to tell of a round and the one before; "" if there is nothing to tell.

        Args:
            verdicts: Of one round, whose pictures differ. Only those count for which a server was
                asked.
        """
        scores = [v.score for v in verdicts if v.score is not None and v.usage.calls]
        both, self._last = self._last + scores, scores
        if not scores or len(both) == len(scores) or len(both) < _LEAST_SAME or self.is_told:
            return ""
        score, times = Counter(both).most_common(1)[0]
        if times < _SAME_SHARE * len(both):
            return ""
        self.is_told = True
        return (
            f"the judge gave {times} of {len(both)} different pictures of two rounds the score "
            f"{score:g}. It may not look at them: read some of its evaluations, and try a stronger "
            'model, or view="both".'
        )


class FailureReporter:
    """Warns once per cause in a run, or raises where that was asked for.

    Args:
        mode: "warn" or "raise".

    Raises:
        ConfigurationError: If the mode is another.
    """

    def __init__(self, mode: str = "warn") -> None:
        one_of("on_judge_error", mode, ("warn", "raise"))
        self.raises = mode == "raise"
        self._told: set[UnscoredReason] = set()
        self._same = SameScores()

    def report(self, verdicts: Sequence[Verdict]) -> None:
        """Tell about the failures among one round's verdicts.

        Raises:
            JudgeError: With mode "raise", if the judge failed. A blank saliency map is no failure
                of the judge, and is only warned of.
        """
        told = self._same.look(verdicts)
        if told:
            warnings.warn(f"vlmxai: {told}", stacklevel=2)
        messages = describe_failures(verdicts)
        of_judge = [m for r, m in messages.items() if r is not UnscoredReason.BLANK_SALIENCY]
        if self.raises and of_judge:
            raise JudgeError(" ".join(of_judge))
        for reason, message in messages.items():
            if reason not in self._told:
                self._told.add(reason)
                told = f"vlmxai: {message} Further ones are counted without a warning."
                warnings.warn(told, stacklevel=2)
