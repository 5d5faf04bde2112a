"""The callback in projects that aren't ours, in the shape that real ones have."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects.base import try_out
from projects.table import Make, all_projects, is_installed

_SLOW = ("transformers_segformer", "no_feature_map", "timm_model")


@pytest.mark.filterwarnings("default")  # other people's libraries warn of each other
@pytest.mark.parametrize(
    ("make", "packages"),
    [
        pytest.param(
            make,
            packages,
            id=make.__name__,
            marks=[pytest.mark.slow] if make.__name__ in _SLOW else [],
        )
        for make, packages in all_projects()
    ],
)
def test_a_project_is_explained_as_it_counts_itself_or_refused(
    tmp_path: Path, make: Make, packages: tuple[str, ...]
) -> None:
    """Every row's class, probability and correctness; the files' colours; not a bit changed."""
    if not is_installed(packages):
        pytest.skip(f"needs {', '.join(packages)}")
    outcome = try_out(make, tmp_path)
    assert outcome.state in ("zero set-up", "arguments", "not supported"), outcome
