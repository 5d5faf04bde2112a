from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_vlmxai.attribution.reading import (
    Layout,
    axes_of,
    read_axes,
    read_mixed,
    read_untouched,
    score_axes,
    separation,
)
from lightning_vlmxai.attribution.sites import plant
from lightning_vlmxai.errors import AttributionError


def _touched(planted: Tensor, rows: int, columns: int, overlap: int = 0) -> list[list[bool]]:
    """Return of each cell whether any pixel in or near it was changed, looked at one by one."""
    height, width = planted.shape
    tall, wide = height // rows, width // columns
    pixels = planted.tolist()

    def ends(cell: int, side: int, limit: int) -> tuple[int, int]:
        return max(cell * side - overlap, 0), min((cell + 1) * side + overlap, limit) - 1

    return [
        [
            any(pixels[i][j] for i in ends(r, tall, height) for j in ends(c, wide, width))
            for c in range(columns)
        ]
        for r in range(rows)
    ]


def _row_of_tokens(cells: list[list[bool]], start: int, ends: int, *, down: bool) -> Tensor:
    flat = [cell for line in (zip(*cells, strict=True) if down else cells) for cell in line]
    return torch.tensor([0.0] * start + [float(cell) for cell in flat] + [0.0] * ends)


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("down", [False, True])
def test_tokens_of_any_grid_are_read_by_what_moves(down: bool, overlap: int) -> None:
    """From 4 x 4 to 32 x 32, others before and behind, patches square or not, apart or not."""
    for rows in range(4, 33):
        for columns in range(4, 33):
            start, ends = (7 * rows + columns) % 10, (rows + 3 * columns) % 10
            tall, wide = ((2, 2), (4, 2), (2, 6))[(rows + columns) % 3]
            _, planted = plant(torch.zeros(2, 1, rows * tall, columns * wide))
            cells = _touched(planted, rows, columns, overlap)
            moved = _row_of_tokens(cells, start, ends, down=down)
            layout = read_untouched(moved, rows=0)
            assert layout is not None
            assert (layout.grid, layout.start, layout.ends, layout.is_transposed) == (
                (rows, columns),
                start,
                ends,
                down,
            )


def test_tokens_that_all_move_or_none_are_not_read_as_untouched() -> None:
    """Mixed tokens and latents say nothing here."""
    assert read_untouched(torch.ones(17), rows=0) is None
    assert read_untouched(torch.zeros(17), rows=0) is None


def test_mixed_tokens_follow_those_that_came_before() -> None:
    """Of the grids that fit, the one whose places move with the picture is taken."""
    _, planted = plant(torch.zeros(2, 1, 48, 72))
    cells = _touched(planted, 4, 6)
    moved = _row_of_tokens(cells, 5, 0, down=False) + 0.1 * torch.rand(
        29, generator=torch.Generator().manual_seed(0)
    )
    found = read_mixed(moved, planted, [(5, 0, True), (5, 0, False), (0, 0, False)], rows=1)
    assert found is not None
    assert (found[0].grid, found[0].start, found[0].rows) == ((4, 6), 5, 1)
    assert found[1] == 1.0


def test_axes_are_read_by_what_moves() -> None:
    """Channels first or last, rows before columns or behind: as the changed places lie."""
    _, planted = plant(torch.zeros(2, 1, 40, 40))
    cells = torch.tensor(_touched(planted, 5, 5)).float()
    nothing = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    for first, last, channels, turned in (
        (cells, nothing, 1, False),
        (nothing, cells, 3, False),
        (cells.T, nothing, 1, True),
        (nothing, cells.T, 3, True),
    ):
        ways = score_axes(axes_of(first, last, planted), planted)
        found = read_axes(ways, ways)
        assert found is not None
        assert (found[0].channels, found[0].is_transposed, found[1]) == (channels, turned, 1.0)
    nowhere = score_axes(axes_of(torch.rand(8, 50), torch.rand(4, 50), planted), planted)
    assert nowhere == {}
    assert read_axes(nowhere, nowhere) is None


def test_axes_lie_as_the_first_of_their_kind() -> None:
    """What a network has spread over all places says nothing, what lies plainly otherwise does."""
    _, planted = plant(torch.zeros(2, 1, 56, 56))
    cells = torch.tensor(_touched(planted, 7, 7)).float()
    noise = torch.rand(7, 7, generator=torch.Generator().manual_seed(1))
    known = score_axes(axes_of(cells, None, planted), planted)
    upright = next(iter(known))
    spread = noise + 0.3 * cells.T
    late = score_axes(axes_of(spread, None, planted), planted)
    assert max(late, key=lambda way: late[way]).is_transposed
    assert read_axes(late, known) == (upright, 1.0)
    turned = read_axes(score_axes(axes_of(cells.T, None, planted), planted), known)
    assert turned is not None
    assert turned[0].is_transposed


def test_separation_is_the_share_of_pairs_in_order() -> None:
    """Counted pair by pair, ties as halves."""
    generator = torch.Generator().manual_seed(0)
    moved = torch.randint(5, (4, 6), generator=generator).float()
    cells = torch.zeros(4, 6)
    cells[:2] = 1.0
    inside, outside = moved[:2].flatten().tolist(), moved[2:].flatten().tolist()
    pairs = [(a > b) + (a == b) / 2 for a in inside for b in outside]
    assert separation(moved, cells) == pytest.approx(sum(pairs) / len(pairs))
    assert separation(moved.fill_(torch.nan), cells) == 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_every_layout_gives_the_same_map(turned: bool) -> None:
    """Tokens and axes, samples first or second, cells row by row or column by column."""
    wanted = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    given = wanted.transpose(2, 3) if turned else wanted
    grid = (4, 5)
    tokens = torch.cat([torch.zeros(2, 2, 3), given.flatten(2).mT, torch.zeros(2, 1, 3)], dim=1)
    known = {"start": 2, "ends": 1, "is_transposed": turned, "grid": grid}
    for features, layout in (
        (given, Layout(rows=0, grid=grid, channels=1, is_transposed=turned)),
        (given.permute(0, 2, 3, 1), Layout(rows=0, grid=grid, channels=3, is_transposed=turned)),
        (tokens, Layout(rows=0, channels=2, **known)),
        (tokens.transpose(0, 1), Layout(rows=1, channels=2, **known)),
    ):
        assert torch.equal(layout.to_map(features), wanted)
        spoilt = layout.spoil(features, torch.nan)
        assert layout.to_map(spoilt).isnan().all()
        assert int(spoilt.isnan().sum()) == wanted.numel()


def test_another_shape_is_refused() -> None:
    """A layout is of one number of cells."""
    with pytest.raises(AttributionError, match=r"4 x 5 cells, got a tensor \[2, 22, 3\]"):
        Layout(rows=0, grid=(4, 5), channels=2, start=1).to_map(torch.zeros(2, 22, 3))
