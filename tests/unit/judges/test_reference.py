"""The embedded judge, by hand."""

import asyncio

import pytest
import torch
from sklearn.metrics import fbeta_score

from lightning_vlmxai import ConfigurationError, ReferenceMaskJudge, UnscoredReason
from lightning_vlmxai.judges import overlap_score
from lightning_vlmxai.records import JudgeRequest


def ask(mask: torch.Tensor, reference: torch.Tensor | None) -> object:
    """Return the verdict of the default judge."""
    request = JudgeRequest(
        probe_index=0,
        label_name="cat",
        pixels=torch.zeros(3, *mask.shape),
        mask=mask,
        reference_mask=reference,
    )
    return asyncio.run(ReferenceMaskJudge().judge(request))


def test_score_without_tolerance_is_five_times_sklearns_f_half() -> None:
    """On random masks the score is the one of an independent F-beta."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        mask = torch.rand(16, 16, generator=generator)
        reference = torch.rand(16, 16, generator=generator) > 0.7
        expected = 5 * fbeta_score(reference.flatten(), (mask >= 0.5).flatten(), beta=0.5)
        assert overlap_score(mask, reference, tolerance=0) == pytest.approx(expected)


def test_tolerance_counts_kept_pixels_beside_the_object_as_on_it() -> None:
    """One pixel of tolerance makes a mask that is one pixel too wide fully precise."""
    reference = torch.zeros(32, 32, dtype=torch.bool)
    reference[10:20, 10:20] = True
    mask = torch.zeros(32, 32)
    mask[9:21, 9:21] = 1
    assert overlap_score(mask, reference, tolerance=1 / 32) == pytest.approx(5)
    precision = 100 / 144
    by_hand = 5 * 1.25 * precision / (0.25 * precision + 1)
    assert overlap_score(mask, reference, tolerance=0) == pytest.approx(by_hand)


def test_a_sixth_of_the_object_and_nothing_else_is_just_high() -> None:
    """What the threshold of 2.5 means: wholly on the object from a sixth of it on."""
    reference = torch.ones(6, 60, dtype=torch.bool)
    mask = torch.zeros(6, 60)
    mask[0] = 1
    assert overlap_score(mask, reference) == pytest.approx(2.5)
    mask[0, 0] = 0
    assert overlap_score(mask, reference) < 2.5


def test_attention_on_the_background_scores_zero() -> None:
    """A mask that misses the object has a score of 0, not an error."""
    reference = torch.zeros(8, 8, dtype=torch.bool)
    reference[:2, :2] = True
    mask = torch.zeros(8, 8)
    mask[6:, 6:] = 1
    assert overlap_score(mask, reference) == 0


def test_nothing_to_compare_is_an_error_and_not_a_score() -> None:
    """An empty mask or object has no overlap."""
    with pytest.raises(ValueError, match="got an empty one"):
        overlap_score(torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="got an empty one"):
        overlap_score(torch.ones(4, 4), torch.zeros(4, 4, dtype=torch.bool))


@pytest.mark.parametrize("reference", [None, torch.zeros(4, 4, dtype=torch.bool)])
def test_a_sample_without_an_object_mask_is_unscored(reference: torch.Tensor | None) -> None:
    """Without a reference there is a reason and no number."""
    verdict = ask(torch.ones(4, 4), reference)
    assert verdict.score is None
    assert verdict.reason is UnscoredReason.NO_REFERENCE_MASK
    assert "reference_mask" in verdict.detail


def test_it_says_that_it_is_no_vlm() -> None:
    """Name and verdict both say so."""
    assert "not a VLM" in ReferenceMaskJudge().name
    verdict = ask(torch.ones(4, 4), torch.ones(4, 4, dtype=torch.bool))
    assert "no VLM" in verdict.justification


def test_its_words_are_the_figures_behind_the_score() -> None:
    """A mask a quarter on the object, covering half of it, says so."""
    reference = torch.zeros(8, 8, dtype=torch.bool)
    reference[:, 0] = True
    mask = torch.zeros(8, 8)
    mask[:4, :4] = 1
    verdict = ask(mask, reference)
    assert verdict.evaluation == (
        "25% of the kept region lies on the object or close beside it, and covers 50% of it."
    )
    assert verdict.score == pytest.approx(5 * 1.25 * 0.25 * 0.5 / (0.25 * 0.25 + 0.5))


@pytest.mark.parametrize("tolerance", [-0.1, 0.6, float("nan")])
def test_tolerance_out_of_range_is_refused(tolerance: float) -> None:
    """The message names the range."""
    with pytest.raises(ConfigurationError, match=r"Expected `tolerance` to be in \[0, 0.5\]"):
        ReferenceMaskJudge(tolerance)
