"""How the tensors of a network are maps: each as the first of its size."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from .reading import (
    MIXED,
    Layout,
    Way,
    axes_of,
    others_of,
    read_axes,
    read_mixed,
    read_untouched,
    score_axes,
    score_of,
)
from .sites import Scene, Site


class Layouts:
    """How the tensors that a forward showed are maps of the picture.

    Args:
        scene: What it showed.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def of(self, site: Site) -> tuple[Layout, float] | None:
        """Return how a site's tensor is a map, and how sure that is; None if it isn't one."""
        moved = self._scene.moved.get(site.step)
        if site.rows is None or moved is None:
            return None
        planted = self._scene.planted
        if len(site.shape) == 4:
            ways = axes_of(moved.first, moved.last, planted)
            known = score_axes({way: self._axes[way] for way in ways}, planted)
            return read_axes(score_axes(ways, planted), known)
        read = None
        for step, found in self._tokens.get(site.shape[1 - site.rows], ()):
            read = found if step <= site.step else read
        return None if read is None else (replace(read[0], rows=site.rows), read[1])

    def clarity_of(self, site: Site, layout: Layout) -> float:
        """Return the chance that a site's places move more where the picture is changed."""
        moved, planted = self._scene.moved[site.step], self._scene.planted
        if layout.start is None:
            return score_axes(axes_of(moved.first, moved.last, planted), planted).get(layout, 0.5)
        return 0.5 if moved.last is None else score_of(layout, moved.last, planted)

    @cached_property
    def _axes(self) -> dict[Layout, Tensor]:
        """The ways in which four axes may be maps, and how the first tensor of each moves."""
        found: dict[Layout, Tensor] = {}
        seen: set[tuple[int, ...]] = set()
        for site in sorted(self._scene.sites, key=lambda site: site.step):
            moved = self._scene.moved.get(site.step)
            if len(site.shape) != 4 or site.rows is None or moved is None:
                continue
            if site.shape not in seen:  # the ways are those of its shape
                seen.add(site.shape)
                found = axes_of(moved.first, moved.last, self._scene.planted) | found
        return found

    @cached_property
    def passages(self) -> set[int]:
        """The steps that all influence on the logits passes."""
        return set(self._scene.flow.passages([self._scene.logits]))

    @cached_property
    def _tokens(self) -> dict[int, list[tuple[int, tuple[Layout, float] | None]]]:
        """By their number, from which step on tokens are which map, and how sure that is.

        The first of a number that can be read say it, and anew where their order changes.
        """
        found: dict[int, list[tuple[int, tuple[Layout, float] | None]]] = {}
        last: dict[int, Tensor] = {}
        known: list[Way] = []
        for site in sorted(self._scene.sites, key=lambda site: site.step):
            moved = self._scene.moved.get(site.step)
            if len(site.shape) != 3 or site.rows is None or moved is None or moved.last is None:
                continue
            count, places = site.shape[1 - site.rows], moved.last
            told = found.setdefault(count, [])
            if not told or (site.step in self.passages and is_reordered(last[count], places)):
                told.append((site.step, None))
            if told[-1][1] is None and (read := self._read_tokens(places, known)) is not None:
                told[-1] = site.step, read
            last[count] = places
        return found

    def _read_tokens(self, moved: Tensor, known: list[Way]) -> tuple[Layout, float] | None:
        """Return how tokens are a map; ways that are seen where none is mixed are known then."""
        planted = self._scene.planted
        layout = read_untouched(moved, rows=0)
        if layout is not None and (sure := score_of(layout, moved, planted)) >= MIXED:
            known.append((layout.start or 0, layout.ends, layout.is_transposed))
            return layout, sure
        others = others_of(moved)
        ways = [(*others, False)] if others != (0, 0) else [*known, (0, 0, False)]
        return read_mixed(moved, planted, dict.fromkeys(ways), rows=0)


def is_reordered(before: Tensor, moved: Tensor) -> bool:
    """Return whether places move as they did before, but in another order.

    Args:
        before: How far each place moved, `[N]`.
        moved: The same of a later tensor.

    Example:
        >>> is_reordered(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 1.0, 3.0]))
        True
    """
    if torch.allclose(before, moved, rtol=1e-3):
        return False
    return torch.allclose(before.sort().values, moved.sort().values, rtol=1e-3)
