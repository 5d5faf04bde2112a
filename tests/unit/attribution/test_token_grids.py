from __future__ import annotations

import dataclasses

from token_grids import Case, drawn, outcome


def test_token_networks_are_read_as_they_are() -> None:
    """Of all grids, others at either end, orders and patches some are drawn: none is wrong."""
    for case in drawn(60, seed=1):
        assert outcome(case)[0] == "right", case


def test_low_grids_with_overlapping_patches_are_not_read_flatter() -> None:
    """Where only one row stays, half as many rows of twice the length fit nearly as well."""
    flat = Case(grid=(4, 18), start=8, ends=1, patch=(4, 2), overlap=1, is_transposed=True)
    for case in (flat, dataclasses.replace(flat, grid=(4, 30), patch=(3, 2), attends=True)):
        assert outcome(case)[0] == "right", case


def test_others_are_those_that_stay_though_all_patches_move() -> None:
    """Then the grid is guessed from how far the patches move, but not who they are."""
    case = Case(grid=(11, 4), start=6, ends=4, overlap=3, reads_class=True, tokens_first=True)
    assert outcome(case)[0] == "right"


def test_what_cannot_be_told_is_not_guessed() -> None:
    """Where each patch sees the whole picture, none of the grids that fit is taken."""
    whole = {"overlap": 20, "is_transposed": True}
    for case in (
        Case(
            grid=(4, 8), start=2, ends=0, patch=(4, 2), overlap=20, attends=True, reads_class=True
        ),
        Case(grid=(6, 19), start=1, ends=5, patch=(1, 4), attends=True, **whole),
        Case(grid=(29, 17), start=7, ends=0, patch=(4, 2), attends=True, reads_class=True, **whole),
        Case(grid=(4, 31), start=1, ends=8, patch=(1, 4), overlap=2, is_transposed=True),
        *drawn(20, seed=1, overlaps=[20]),
    ):
        assert outcome(case)[0] != "wrong", case
