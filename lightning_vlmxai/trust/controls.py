"""Controls: pictures whose answer is known, made from probes, to test a judge with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attribution import normalize_saliency
from ..explain import soft_mask
from ..records import Control, ControlKind, Explanation, Fill, JudgeRequest

KINDS: tuple[ControlKind, ...] = get_args(ControlKind)
_BAD_WITH_MASKS: tuple[ControlKind, ...] = ("elsewhere", "shuffled", "other label")

_CELLS = (7, 10, 14, 20)
"""Cells along the shorter side: the coarsest that can show the object, as CAMs are 7 to 14."""
_FIT = 0.7
"""An object is kept where so much of it is, and so much of what is kept lies on it."""
_MISSED = 0.1
"""An object is missed where no more than this of it is visible."""
_TRIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A picture that controls are made of.

    Args:
        index: `Probe.index`.
        pixels: `[3, H, W]`, float32 in [0, 1].
        label_name: Of the object in it.
        names: What else it may be called, such as the predicted class.
        reference_mask: Where the object is, `[H, W]` bool; None if that is not known.
        saliency: Where a model looked in it, `[H, W]` in [0, 1]; None without a model.
        has_others: Whether other classes may be in it too, so that no name is surely wrong.
    """

    index: int
    pixels: Tensor
    label_name: str
    names: tuple[str, ...] = ()
    reference_mask: Tensor | None = None
    saliency: Tensor | None = None
    has_others: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether it is known where the object is, and where it is not."""
        mask = self.reference_mask
        return mask is not None and bool(mask.any()) and not bool(mask.all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Controls, and what could not be made.

    Args:
        controls: In an order that tells nothing.
        notes: In sentences.
    """

    controls: tuple[Control, ...]
    notes: tuple[str, ...] = ()


def subjects_of(explanations: Sequence[Explanation]) -> list[Subject]:
    """Return what controls can be made of in a round: one of each picture with a true class."""
    subjects: dict[int, Subject] = {}
    for e in explanations:
        # Of a label that is not there, no picture shows the object.
        is_shown = e.label >= 0 and (e.part is None or e.is_correct)
        if is_shown and e.probe_index not in subjects:
            subjects[e.probe_index] = Subject(
                index=e.probe_index,
                pixels=e.pixels,
                label_name=e.label_name,
                names=(e.prediction_name,),
                reference_mask=e.reference_mask,
                saliency=None if e.is_blank else e.saliency,
                has_others=e.part is not None,
            )
    return list(subjects.values())


def draw_controls(
    subjects: Sequence[Subject],
    count: int,
    *,
    class_names: Sequence[str] = (),
    alpha: float = 15.0,
    beta: float = 0.6,
    fill: Fill = "black",
    seed: int = 0,
    number: int = 0,
    stage: str = "fit",
    reads_labels: bool = True,
) -> Drawn:
    """Return controls of all kinds, half of them good, each beside a bad one of the same picture.

    With masks: *object* keeps the object, under its own name (High is right); *elsewhere* keeps a
    region of the same shape where the object is not, *shuffled* what another picture's map keeps,
    where that misses the object, and *other label* keeps the object under another class's name
    (Low is right). Without masks: *whole* hides nothing (High), and *other label* (Low). Masks are
    as soft and coarse as real ones: a region is averaged over the cells of a coarse map, which is
    uneven by chance, enlarged as a saliency map is, and goes through Eq. 1.

    Args:
        subjects: Those with masks are used, or all if none has one.
        count: Number of controls, at least 2.
        class_names: Beside the subjects' own, for *other label*.
        alpha: As for real explanations.
        beta: Likewise.
        fill: Likewise.
        seed: The same one gives the same controls.
        number: Of the round: each has others, so that no stored answer is theirs.
        stage: Of the round.
        reads_labels: Whether the judge is told a label that it heeds; no *other label* if not.

    Source: the kinds are sanity checks in the sense of Adebayo et al., 2018, arXiv 1810.03292,
        for the judge instead of the map.
    """
    generator = torch.Generator().manual_seed(1_000_003 * seed + number)
    usable = [s for s in subjects if s.has_mask]
    has_masks = bool(usable)
    usable = usable or list(subjects)
    kinds = _BAD_WITH_MASKS if has_masks else ("other label",)
    kinds = tuple(kind for kind in kinds if reads_labels or kind != "other label")
    good: ControlKind = "object" if has_masks else "whole"
    if not usable:
        return Drawn(controls=(), notes=("No picture with a known class: there is no control.",))
    names = list(dict.fromkeys([*class_names, *(s.label_name for s in subjects)]))
    maker = _Maker(usable, names, generator, alpha=alpha, beta=beta, fill=fill)
    order = [usable[i] for i in torch.randperm(len(usable), generator=generator).tolist()]
    controls: list[Control] = []
    pairs, place, missing = count // 2, 0, set[ControlKind]()
    for pair in range(pairs):
        # The kinds in turn, from another one in each round.
        turns = [kinds[(pair + number + turn) % len(kinds)] for turn in range(len(kinds))]
        for kind in turns if kinds else ():
            at, made = _first_pair(maker, order, place, good, kind)
            if made:
                place = at + 1
                controls += made
                break
            missing.add(kind)
    if count % 2 and controls:
        extra = maker.make(good, order[place % len(order)])
        controls += [extra] if extra else []
    controls = [controls[i] for i in torch.randperm(len(controls), generator=generator).tolist()]
    told = [
        replace(c, request=replace(c.request, round_number=number, stage=stage)) for c in controls
    ]
    return Drawn(controls=tuple(told), notes=tuple(_note(kind) for kind in sorted(missing)))


def _first_pair(
    maker: _Maker, order: Sequence[Subject], start: int, good: ControlKind, bad: ControlKind
) -> tuple[int, list[Control]]:
    """Return the place of the first subject from `start` on that gives both, and the two."""
    for at in range(start, start + len(order)):
        subject = order[at % len(order)]
        one = maker.make(good, subject)
        other = maker.make(bad, subject) if one else None
        if one and other:
            return at, [one, other]
    return start, []


def _note(kind: ControlKind) -> str:
    why = {
        "elsewhere": "no object leaves room for its shape beside it",
        "shuffled": "no map of another picture misses an object",
        "other label": "no class name is surely wrong: it takes three classes",
    }.get(kind, "it can't be made")
    return (
        f"There is no control of the kind {kind!r}: {why}, or alpha and beta keep too much or too "
        "little of an object."
    )


class _Maker:
    """Makes one control at a time.

    Args:
        subjects: Whose maps may be shuffled.
        names: Of classes.
        generator: Of all chance.
        alpha: Of the mask.
        beta: Of the mask.
        fill: Of the picture.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        names: Sequence[str],
        generator: torch.Generator,
        *,
        alpha: float,
        beta: float,
        fill: Fill,
    ) -> None:
        self._subjects = subjects
        self._names = names
        self._generator = generator
        self._alpha, self._beta, self._fill = alpha, beta, fill
        self._cells: dict[int, Tensor | None] = {}

    def make(self, kind: ControlKind, subject: Subject) -> Control | None:
        """Return a control of a subject; None where it allows none of this kind."""
        label, saliency = subject.label_name, None
        if kind == "other label":
            others = [] if subject.has_others else self._other_names(subject)
            if not others:
                return None
            label = others[self._below(len(others))]
        if kind == "whole" or (kind == "other label" and not subject.has_mask):
            grain = torch.rand(1, *_grid(subject.pixels, _CELLS[0]), generator=self._generator)
            saliency = 1 - 0.1 * normalize_saliency(grain, size=_size(subject.pixels))[0]
        elif kind in ("object", "other label"):
            saliency = self._on_object(subject)
        elif kind == "elsewhere":
            saliency = self._elsewhere(subject)
        elif kind == "shuffled":
            saliency = self._shuffled(subject)
        if saliency is None:
            return None
        request = JudgeRequest(
            probe_index=subject.index,
            label_name=label,
            pixels=subject.pixels,
            mask=self._mask(saliency),
            saliency=saliency,
            fill=self._fill,
            reference_mask=subject.reference_mask,
        )
        return Control(kind=kind, request=request)

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self._generator))

    def _mask(self, saliency: Tensor) -> Tensor:
        return soft_mask(saliency, alpha=self._alpha, beta=self._beta)

    def _other_names(self, subject: Subject) -> list[str]:
        taken = {_plain(name) for name in (subject.label_name, *subject.names)}
        return [name for name in self._names if _plain(name) and _plain(name) not in taken]

    def _enlarge(self, cells: Tensor, subject: Subject) -> Tensor:
        """Return a coarse map at picture size, uneven as real ones are, `[H, W]` in [0, 1]."""
        top = 1 - 0.4 * (1 - self._beta) * torch.rand(cells.shape, generator=self._generator)
        ground = 0.25 * self._beta * torch.rand(cells.shape, generator=self._generator)
        uneven = cells * top + (1 - cells) * ground
        return normalize_saliency(uneven[None], size=_size(subject.pixels))[0]

    def _on_object(self, subject: Subject) -> Tensor | None:
        cells = self._object_cells(subject)
        return None if cells is None else self._enlarge(cells, subject)

    def _object_cells(self, subject: Subject) -> Tensor | None:
        """Return the object on the coarsest map that shows it, `[h, w]` in [0, 1]."""
        if subject.index not in self._cells:
            found = (c for c in _cell_maps(subject) if self._fits(c, subject))
            self._cells[subject.index] = next(found, None)
        return self._cells[subject.index]

    def _fits(self, cells: Tensor, subject: Subject) -> bool:
        on_object = subject.reference_mask
        kept = self._mask(normalize_saliency(cells[None], size=_size(subject.pixels))[0]) >= 0.5
        if on_object is None or not kept.any():
            return False
        precision = float(on_object[kept].float().mean())
        return min(precision, float(kept[on_object].float().mean())) >= _FIT

    def _elsewhere(self, subject: Subject) -> Tensor | None:
        """Return the object's shape where the object is not."""
        cells = self._object_cells(subject)
        if cells is None:
            return None
        rows, columns = (cells > 0).nonzero().unbind(1)
        top, left = int(rows.min()), int(columns.min())
        shape = cells[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        height, width = shape.shape
        places = [
            (row, column)
            for row in range(cells.shape[0] - height + 1)
            for column in range(cells.shape[1] - width + 1)
            if not bool(
                ((cells > 0)[row : row + height, column : column + width] & (shape > 0)).any()
            )
        ]
        for choice in torch.randperm(len(places), generator=self._generator).tolist()[:_TRIES]:
            row, column = places[choice]
            moved = torch.zeros_like(cells)
            moved[row : row + height, column : column + width] = shape
            saliency = self._enlarge(moved, subject)
            if self._misses(saliency, subject):
                return saliency
        return None

    def _shuffled(self, subject: Subject) -> Tensor | None:
        """Return another picture's map that misses the object."""
        others = [other for other in self._subjects if other.index != subject.index]
        for choice in torch.randperm(len(others), generator=self._generator).tolist()[:_TRIES]:
            other = others[choice]
            saliency = other.saliency
            if saliency is None:
                saliency = self._on_object(other)
            if saliency is None:
                continue
            grain = 1 - 0.02 * torch.rand(saliency.shape, generator=self._generator)
            resized = normalize_saliency((saliency * grain)[None], size=_size(subject.pixels))[0]
            if self._misses(resized, subject):
                return resized
        return None

    def _misses(self, saliency: Tensor, subject: Subject) -> bool:
        mask, on_object = self._mask(saliency), subject.reference_mask
        is_something = bool((mask >= 0.5).any())
        return is_something and on_object is not None and float(mask[on_object].mean()) <= _MISSED


def _cell_maps(subject: Subject) -> Iterator[Tensor]:
    """Yield how much of the object is in each cell, of the fullest half at most, coarsest first."""
    assert subject.reference_mask is not None  # noqa: S101 - asked for before
    for cells in _CELLS:
        area = subject.reference_mask.float()[None, None]
        share = F.adaptive_avg_pool2d(area, _grid(subject.pixels, cells))[0, 0]
        yield (share / (0.5 * share.max())).clamp(max=1.0)


def _grid(pixels: Tensor, cells: int) -> tuple[int, int]:
    """Return how many cells a picture's sides have, the shorter one so many (or its pixels)."""
    height, width = _size(pixels)
    side = max(1.0, min(height, width) / cells)
    return max(1, round(height / side)), max(1, round(width / side))


def _size(pixels: Tensor) -> tuple[int, int]:
    return int(pixels.shape[-2]), int(pixels.shape[-1])


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
