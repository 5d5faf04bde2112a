"""How the tensors of a network are maps: each as the first of its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from .reading import (
    Layout,
    Way,
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
            return read_axes(score_axes(moved.first, moved.last, planted), self._axes)
        known = None if moved.last is None else self._tokens.get(site.shape[1 - site.rows])
        return None if known is None else (replace(known[0], rows=site.rows), known[1])

    def clarity_of(self, site: Site, layout: Layout) -> float:
        """Return the chance that a site's places move more where the picture is changed."""
        moved, planted = self._scene.moved[site.step], self._scene.planted
        if layout.start is None:
            return score_axes(moved.first, moved.last, planted).get(layout, 0.5)
        return 0.5 if moved.last is None else score_of(layout, moved.last, planted)

    @cached_property
    def _axes(self) -> dict[Layout, float]:
        """The ways in which four axes may be maps, with the score of the first tensor of each."""
        found: dict[Layout, float] = {}
        for site in sorted(self._scene.sites, key=lambda site: site.step):
            moved = self._scene.moved.get(site.step)
            if len(site.shape) == 4 and site.rows is not None and moved is not None:
                found = score_axes(moved.first, moved.last, self._scene.planted) | found
        return found

    @cached_property
    def _tokens(self) -> dict[int, tuple[Layout, float]]:
        """By their number how tokens are a map, and how sure that is, as the first of them say."""
        found = {count: (layout, 1.0) for count, layout in self._untouched.items()}
        planted = self._scene.planted
        for count, (rows, moved) in self._first.items():
            if count not in found:
                read = read_mixed(moved, planted, self._ways(count), rows=rows)
                found |= {} if read is None else {count: read}
        return found

    @cached_property
    def _first(self) -> dict[int, tuple[int, Tensor]]:
        """By number of tokens, axis of the rows and movement where so many were seen first."""
        found: dict[int, tuple[int, Tensor]] = {}
        for site in self._scene.sites:
            moved = self._scene.moved.get(site.step)
            if len(site.shape) == 3 and site.rows is not None and moved and moved.last is not None:
                found.setdefault(site.shape[1 - site.rows], (site.rows, moved.last))
        return found

    @cached_property
    def _untouched(self) -> dict[int, Layout]:
        """By number of tokens, their layout as long as they weren't mixed."""
        read = {
            count: read_untouched(moved, rows=rows) for count, (rows, moved) in self._first.items()
        }
        return {count: layout for count, layout in read.items() if layout is not None}

    def _ways(self, count: int) -> Iterable[Way]:
        """Return how so many tokens may lie: as earlier ones do, or less those that stay."""
        others = others_of(self._first[count][1])
        if others != (0, 0):
            return [(*others, False)]
        known = [(k.start or 0, k.ends, k.is_transposed) for k in self._untouched.values()]
        return dict.fromkeys([*known, (0, 0, False)])
