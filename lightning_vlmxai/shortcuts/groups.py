"""How often a model is right with a cue and without it, by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..records import Sample
from .finding import Shortcut


class Group(NamedTuple):
    """Pictures of one class, all with the cue or all without it.

    Args:
        label: Name of the class.
        cue: "there" as it is, "erased", "absent" as it is, or "pasted".
        right: Pictures whose class is predicted.
        total: Of these.
    """

    label: str
    cue: str
    right: int
    total: int


def count_groups(shortcut: Shortcut, samples: Sequence[Sample]) -> list[Group]:
    """Return how often each group is right among the pictures that were changed, the worst first.

    Those that bear the cue were chosen among right answers, and those of other classes among
    pictures that aren't taken for the cue's class: held to each other are the same pictures as
    they are and changed, not classes.

    Args:
        shortcut: That was tried.
        samples: In which it was found.
    """
    classes = {s.explanation.probe_index: s.explanation for s in samples}
    counts: dict[tuple[str, str], list[bool]] = {}
    tried = (shortcut.erased, ("there", "erased")), (shortcut.pasted, ("absent", "pasted"))
    for effect, names in tried:
        for change in effect.changes if effect else ():
            of = classes[change.row]
            if of.label < 0:
                continue
            for name, predicted in zip(names, (change.before, change.cue), strict=True):
                counts.setdefault((of.label_name, name), []).append(predicted == of.label)
    groups = [Group(*key, sum(right), len(right)) for key, right in counts.items()]
    return sorted(groups, key=lambda g: (g.right / g.total, -g.total, g.label, g.cue))
