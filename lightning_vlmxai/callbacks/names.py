"""Whether the class names that are known will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn

from ..errors import ConfigurationError, expected
from ..judges import Judge


def check_names(
    names: Sequence[str] | None, judge: Judge, *, watched: Sequence[str], line: str
) -> None:
    """Return nothing: names are there where they are needed, and those that are watched among them.

    Warns of classes that share a name: their figures can't be told apart.

    Args:
        names: That fit the labels; None if none do.
        judge: That may need them: one whose `needs_class_names` is true.
        watched: Names of the classes that are watched.
        line: An argument that gives names, for the message.

    Raises:
        ConfigurationError: If not.
    """
    is_asked = getattr(judge, "needs_class_names", False)
    if names is None and (is_asked or not all(name.isdigit() for name in watched)):
        who = judge.name if is_asked else "`watch_classes`"
        raise ConfigurationError(
            expected(
                "class_names",
                f"known, for {who} needs them",
                "none that fit the labels",
                f"Pass `{line}`, in the order of the model's outputs",
            )
        )
    shared = [name for name, count in Counter(names or ()).items() if count > 1]
    if names and shared:
        same = [str(place) for place, name in enumerate(names) if name == shared[0]]
        more = f" (and {len(shared) - 1} more names)" if len(shared) > 1 else ""
        rank_zero_warn(
            f"vlmxai: classes {', '.join(same)} share the name {shared[0]!r}{more}: figures, "
            "tables and shortcuts take them for one class. Pass `class_names=` with one for each."
        )
    unknown = [name for name in watched if names and name not in names]
    if names and unknown:
        raise ConfigurationError(
            expected(
                "watch_classes",
                "among the class names",
                ", ".join(map(repr, unknown)),
                f"Choose from {', '.join(names[:20])}",
            )
        )
