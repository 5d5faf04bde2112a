"""The public names as a type checker sees them."""

from typing import TYPE_CHECKING

import lightning.pytorch as pl

import lightning_vlmxai as vlmxai
from lightning_vlmxai.testing import ScriptedJudge

if TYPE_CHECKING:
    from typing_extensions import assert_type


def test_public_names_are_sorted_and_there() -> None:
    """Every name that the package promises exists, in alphabetical order."""
    assert list(vlmxai.__all__) == sorted(vlmxai.__all__)
    assert all(hasattr(vlmxai, name) for name in vlmxai.__all__)


def test_judges_fit_the_protocol() -> None:
    """All three judges are judges to the type checker and at run time."""
    judges: list[vlmxai.Judge] = [
        vlmxai.ReferenceMaskJudge(),
        vlmxai.VLMJudge("a-model"),
        ScriptedJudge([vlmxai.Verdict.scored(5)]),
    ]
    assert all(isinstance(judge, vlmxai.Judge) for judge in judges)


def test_callbacks_are_lightning_callbacks() -> None:
    """Both callbacks go into a Trainer's list."""
    callbacks: list[pl.Callback] = [vlmxai.VLMExplainCallback(), vlmxai.QuadrantStopping()]
    assert len(callbacks) == 2


if TYPE_CHECKING:

    def check_types(closed: vlmxai.Round, sample: vlmxai.Sample) -> None:
        """Checked by mypy alone."""
        assert_type(closed.samples, tuple[vlmxai.Sample, ...])
        assert_type(sample.quadrant, vlmxai.Quadrant | None)
        assert_type(sample.verdict.score, float | None)
