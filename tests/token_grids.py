"""Token networks of every grid from 4 x 4 to 32 x 32, with other tokens before and behind.

`python tests/token_grids.py` tries all grids with 0 to 9 tokens at either end, each searched as a
user's network is, and prints how many were read wrong; `--drawn 2000` tries as many of all
combinations. `--overlaps 3 5 20` has patches that see more than their own pixels, as behind
convolutions: with the widest none is told from the others, so that nothing may be read of them.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_vlmxai.attribution import locate
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain.live import borrowed

SIDES = range(4, 33)
OTHERS = range(10)
PATCHES = ((2, 2), (2, 3), (3, 2), (4, 2), (1, 4))
_WIDTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A token network.

    Args:
        grid: Rows and columns of its patches.
        start: How many tokens stand before them.
        ends: How many stand behind.
        patch: Height and width of a patch in pixels.
        overlap: How many pixels more a patch is looked at with on every side.
        is_transposed: Whether the patches run down the columns.
        attends: Whether tokens are mixed by attention; else each is given their mean.
        reads_class: Whether the head reads the first token, or the last; else their mean.
        tokens_first: Whether tokens are `[N, B, C]`.
    """

    grid: tuple[int, int]
    start: int
    ends: int
    patch: tuple[int, int] = (2, 2)
    overlap: int = 0
    is_transposed: bool = False
    attends: bool = False
    reads_class: bool = False
    tokens_first: bool = False


class Tokens(nn.Module):
    """Patches, other tokens at either end, two blocks, a head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        kernel = [side + 2 * case.overlap for side in case.patch]
        self.patches = nn.Conv2d(3, _WIDTH, kernel, case.patch, case.overlap)
        self.before = nn.Parameter(torch.randn(1, case.start, _WIDTH))
        self.behind = nn.Parameter(torch.randn(1, case.ends, _WIDTH))
        self.blocks = nn.ModuleList(Block(case) for _ in range(2))
        self.head = nn.Linear(_WIDTH, 3)

    def forward(self, images: Tensor) -> Tensor:
        case = self.case
        maps = self.patches(images)
        x = (maps.mT if case.is_transposed else maps).flatten(2).transpose(1, 2)
        rows = len(images)
        x = torch.cat([self.before.expand(rows, -1, -1), x, self.behind.expand(rows, -1, -1)], 1)
        x = x.transpose(0, 1) if case.tokens_first else x
        for block in self.blocks:
            x = block(x)
        x = x.transpose(0, 1) if case.tokens_first else x
        if case.reads_class:
            return self.head(x[:, 0 if case.start else -1])
        return self.head(x.mean(dim=1))


class Block(nn.Module):
    """Mixes tokens, then channels."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.axis = 0 if case.tokens_first else 1
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.attention = (
            nn.MultiheadAttention(_WIDTH, 1, batch_first=not case.tokens_first)
            if case.attends
            else None
        )
        self.mix, self.mlp = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.attention is not None:
            mixed = self.attention(normed, normed, normed, need_weights=False)[0]
        else:
            mixed = self.mix(normed.mean(dim=self.axis, keepdim=True))
        x = x + mixed
        return x + self.mlp(self.norm2(x))


def outcome(case: Case) -> tuple[str, str]:
    """Return what becomes of a network, and what was read: "right", "wrong", "earlier", "refused".

    Earlier is the map that the patches are made as, as it lies; refused is an error or a doubt.
    """
    torch.manual_seed(0)
    net = Tokens(case).eval()
    (rows, columns), (tall, wide) = case.grid, case.patch
    images = torch.randn(1, 3, rows * tall, columns * wide)
    try:
        with borrowed(net):
            target = locate(net, images)
    except AttributionError as error:
        return "refused", f"{error}"[:120]
    found = target.layout
    assert found is not None
    told = f"{target.name} {target.doubt} {found}"
    if target.name == "patches" and (found.grid, found.channels) == (case.grid, 1):
        return "wrong" if found.is_transposed else "earlier", told
    read = (found.grid, found.start, found.ends, found.is_transposed, found.rows)
    meant = (case.grid, case.start, case.ends, case.is_transposed, int(case.tokens_first))
    if target.doubt:
        return "refused", told
    return "right" if read == meant else "wrong", told


def every() -> Iterator[Case]:
    """Yield all grids with 0 to 9 others at either end; what else differs takes turns."""
    others = [(n, 0) for n in OTHERS] + [(0, n) for n in OTHERS[1:]]
    turns = itertools.cycle(itertools.product(PATCHES, (False, True), (False, True)))
    for grid in itertools.product(SIDES, SIDES):
        for start, ends in others:
            patch, is_transposed, reads_class = next(turns)
            yield Case(
                grid=grid,
                start=start,
                ends=ends,
                patch=patch,
                is_transposed=is_transposed,
                reads_class=reads_class and start + ends > 0,
            )


def drawn(count: int, seed: int = 0, overlaps: Sequence[int] = (0, 0, 1)) -> Iterator[Case]:
    """Yield so many of all combinations."""
    draw = random.Random(seed)  # noqa: S311
    for _ in range(count):
        start, ends = draw.choice(OTHERS), draw.choice(OTHERS)
        yield Case(
            grid=(draw.choice(SIDES), draw.choice(SIDES)),
            start=start,
            ends=ends,
            patch=draw.choice(PATCHES),
            overlap=draw.choice(overlaps),
            is_transposed=draw.random() < 0.5,
            attends=draw.random() < 0.5,
            reads_class=start + ends > 0 and draw.random() < 0.5,
            tokens_first=draw.random() < 0.25,
        )


def main() -> None:
    """Try, and print what isn't right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[0, 0, 1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    tried: Counter[str] = Counter()
    chosen = drawn(options.drawn, options.seed, options.overlaps) if options.drawn else every()
    for case in chosen:
        kind, told = outcome(case)
        tried[kind] += 1
        if kind == "wrong" or (kind != "right" and tried[kind] <= 5):
            print(kind, case, told, flush=True)
    print(f"{dict(tried)} of {tried.total()}, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
