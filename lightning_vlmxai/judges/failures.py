"""What failed verdicts are told as: one message per cause, warned of once or raised."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from ..errors import JudgeError
from ..records import UnscoredReason, Verdict
from .checks import one_of

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
    UnscoredReason.FORBIDDEN: "Ask at the provider why: the key's rights, the region, or these "
    "pictures",
    UnscoredReason.HTML_ANSWER: "Check `base_url`: it usually ends in /v1",
    UnscoredReason.NOT_FOUND: "Check `model` and `base_url`",
    UnscoredReason.NO_REFERENCE_MASK: "Return (image, label, reference_mask) from the data set",
    UnscoredReason.OVER_BUDGET: "Raise the judge's `budget`, or explain fewer probes",
    UnscoredReason.QUEUE_FULL: "Explain fewer probes, or raise the judge's `concurrency`",
    UnscoredReason.QUOTA_EXHAUSTED: "Add credit at the provider, or use another key or model",
    UnscoredReason.RATE_LIMIT: "Lower the judge's `concurrency`, or raise `max_retries`",
    UnscoredReason.SERVER_ERROR: "Look at the server's own log or status page",
    UnscoredReason.TIMEOUT: "Raise `timeout_s` and `call_timeout_s`, or lower `concurrency`",
    UnscoredReason.TOO_LARGE: 'Pass picture_format="jpeg" or a smaller `min_side`',
    UnscoredReason.TRUNCATED: "Raise the answer's token limit in `request`",
    UnscoredReason.UNPARSEABLE: "Try a stronger model, or a style that asks for less",
}


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
        parts = [part for part in (detail.rstrip("."), _REMEDIES.get(reason, "")) if part]
        messages[reason] = f"{message}: {'. '.join(parts)}." if parts else f"{message}."
    return messages


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

    def report(self, verdicts: Sequence[Verdict]) -> None:
        """Tell about the failures among one round's verdicts.

        Raises:
            JudgeError: With mode "raise", if the judge failed. A blank saliency map is no failure
                of the judge, and is only warned of.
        """
        messages = describe_failures(verdicts)
        of_judge = [m for r, m in messages.items() if r is not UnscoredReason.BLANK_SALIENCY]
        if self.raises and of_judge:
            raise JudgeError(" ".join(of_judge))
        for reason, message in messages.items():
            if reason not in self._told:
                self._told.add(reason)
                told = f"vlmxai: {message} Further ones are counted without a warning."
                warnings.warn(told, stacklevel=2)
