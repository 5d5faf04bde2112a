"""From judged samples and a model to the sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.calls import Call
from lightning_vlmxai.records import Explanation, Probe, Quadrant, Sample, Verdict
from lightning_vlmxai.shortcuts import Spoken, find_shortcuts, spoken_of, try_cause
from lightning_vlmxai.tasks import Classification

SIDE, NAMES = 28, ("cat", "dog", "cow")


class ReadsDot(nn.Module):
    """Says cat where the corner is bright, else what the middle's brightness says."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, 3]`."""
        dot = images[:, 0, :4, -4:].amax(dim=(1, 2))
        middle = images[:, 0, 12:16, 12:16].mean(dim=(1, 2))
        return torch.stack([20 * dot - 5, 5 - 10 * middle, 10 * middle - 5], dim=1)


def picture(label: int, dotted: bool) -> Tensor:
    """Return a picture `[1, 28, 28]` of a class."""
    image = torch.zeros(1, SIDE, SIDE)
    image[:, 12:16, 12:16] = {0: 0.4, 1: 0.2, 2: 0.9}[label]
    if dotted:
        image[:, :4, -4:] = 1.0
    return image


def case(
    index: int, label: int, *, low: bool, dotted: bool, on_object: bool = False
) -> tuple[Sample, Probe]:
    """Return a right sample whose mask lies on the dot if it is Low, else on the object."""
    image = picture(label, dotted)
    where = torch.zeros(SIDE, SIDE)
    if low and not on_object:
        where[:4, -4:] = 1.0
    else:
        where[12:16, 12:16] = 1.0
    object_ = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    object_[11:17, 11:17] = True
    pixels = image.expand(3, -1, -1)
    explanation = Explanation(
        probe_index=index,
        label=label,
        label_name=NAMES[label],
        prediction=label,
        prediction_name=NAMES[label],
        confidence=0.9,
        is_correct=True,
        pixels=pixels,
        saliency=where,
        mask=where,
        reference_mask=object_,
    )
    quadrant = Quadrant.CORRECT_LOW if low else Quadrant.CORRECT_HIGH
    sample = Sample(
        explanation=explanation, verdict=Verdict.scored(1.0 if low else 5.0), quadrant=quadrant
    )
    probe = Probe(
        index=index,
        call=Call.of_images(image[None]),
        pixels=pixels,
        target=torch.tensor(label),
        reference_mask=object_,
    )
    return sample, probe


def cases(low_cats: int) -> tuple[list[Sample], list[Probe]]:
    """Return 12 cats of which some are Low and dotted, and 30 others."""
    made = [case(i, 0, low=i < low_cats, dotted=i < low_cats) for i in range(12)]
    made += [case(20 + i, 1 + i % 2, low=False, dotted=False) for i in range(30)]
    return [s for s, _ in made], [p for _, p in made]


def tell(sample: Sample, *seen: tuple[str, bool | None]) -> Sample:
    """Return a sample in which the judge saw something."""
    return replace(sample, verdict=replace(sample.verdict, attends_to=seen))


def test_what_a_judge_tells_of_the_object_is_no_cue() -> None:
    """Its parts differ between classes; who tells nothing counts nowhere, who sees none as a no."""
    samples = [tell(s, ("fur", True)) for s in cases(10)[0]]
    (found,) = find_shortcuts(samples)
    assert found.topic is None
    samples[0] = replace(samples[0], verdict=Verdict.scored(1.0))
    spoken = spoken_of(samples)
    assert spoken.keys() == {s.explanation.probe_index for s in samples[1:]}
    assert spoken[1] == Spoken("cat", True, ())
    assert spoken[11] == Spoken("cat", False, ())


def test_verdicts_that_stand_from_earlier_rounds_are_told() -> None:
    """Where not all were judged anew, the sentence's first figure is partly of another model."""
    samples, _ = cases(10)
    (found,) = find_shortcuts(samples)
    assert "earlier" not in found.text
    kept = [replace(s, verdict=replace(s.verdict, is_reused=True)) for s in samples[:7]]
    (found,) = find_shortcuts([*kept, *samples[7:]])
    assert "; other classes 0 of 30; 7 of these 42 verdicts are of earlier rounds)" in found.text


def test_words_of_earlier_rounds_are_passed_in() -> None:
    """They are used instead of the samples' own."""
    samples, _ = cases(10)
    own = {s.explanation.probe_index: tell(s, ("x", None)) for s in samples}
    spoken = spoken_of([*own.values()])
    spoken |= {i: spoken[i]._replace(phrases=("the dots",)) for i in range(10)}
    (found,) = find_shortcuts([*own.values()], spoken=spoken)
    assert found.topic is not None
    assert (found.topic.phrase, found.topic.low, found.topic.other) == ("dot", 10, 0)


def test_a_place_is_not_told_twice() -> None:
    """The reference judge's words are places themselves."""
    samples = [
        tell(s, ("top right", False))
        if s.explanation.probe_index < 10
        else tell(s, ("centre", True))
        for s in cases(10)[0]
    ]
    (found,) = find_shortcuts(samples)
    assert found.topic is not None
    assert found.topic.phrase == "top right"
    assert "look at what lies top right (" in found.text
    assert "The judge saw" not in found.text
    assert "look at what lies top right (" in replace(found, place=None).text


def test_a_planted_dot_is_named_with_its_place_and_its_effect() -> None:
    """Every figure with its denominator."""
    samples, probes = cases(10)
    samples = [
        tell(s, ("A red dot", False)) if s.explanation.probe_index < 10 else tell(s, ("ear", True))
        for s in samples
    ]
    (found,) = find_shortcuts(samples)
    assert (found.label, found.low, found.right, found.other_low, found.other_right) == (
        "cat", 10, 12, 0, 30,
    )  # fmt: skip
    tried = try_cause(
        found, samples, probes, module=ReadsDot(), prepare=lambda c: c, task=Classification()
    )
    assert tried.text == (
        "cat: 10 of 12 right answers rest on red dot, top right (95 %: 55 to 95 %; other classes 0 "
        "of 30). The judge saw it in 10 of 10 of them, and in 0 of 32 others. 0 of 30 pictures of "
        "other classes look like theirs there. Erasing it turns 10 of 10 predictions, erasing as "
        "much elsewhere 0. Pasting it onto other classes makes 30 of 30 a cat, pasting as much "
        "from elsewhere 0."
    )


def test_without_words_the_place_is_told() -> None:
    """The reference judge has no words."""
    (found,) = find_shortcuts(cases(10)[0])
    assert found.topic is None
    assert "look at what lies top right (" in found.text


@pytest.mark.parametrize("low_cats", [0, 2])
def test_few_are_no_finding(low_cats: int) -> None:
    """Chance is not named."""
    assert find_shortcuts(cases(low_cats)[0]) == []


def test_little_of_the_object_is_no_shortcut() -> None:
    """Low, but the kept region is the object's."""
    samples = [case(i, 0, low=True, dotted=False, on_object=True)[0] for i in range(12)]
    samples += cases(0)[0][12:]
    assert find_shortcuts(samples) == []


def test_where_all_classes_are_low_none_is_named() -> None:
    """A strict judge is no shortcut."""
    samples = [replace(s, quadrant=Quadrant.CORRECT_LOW) for s in cases(12)[0]]
    for sample in samples:
        sample.explanation.mask.copy_(cases(12)[0][0].explanation.mask)
    assert find_shortcuts(samples) == []


def test_a_map_that_misleads_is_told() -> None:
    """The model reads the middle, whatever the maps say: erasing the corner changes nothing."""

    class ReadsMiddle(ReadsDot):
        def forward(self, images: Tensor) -> Tensor:
            middle = images[:, 0, 12:16, 12:16].mean(dim=(1, 2))
            return -50 * (middle[:, None] - torch.tensor([0.4, 0.2, 0.9])).abs()

    samples, probes = cases(10)
    (found,) = find_shortcuts(samples)
    tried = try_cause(
        found, samples, probes, module=ReadsMiddle(), prepare=lambda c: c, task=Classification()
    )
    assert tried.erased is not None
    assert tried.erased.flipped == 0
    assert "the maps are in doubt" in tried.text
    assert not tried.is_proven


def others(count: int) -> list[Sample]:
    """Return right samples of other classes, without a dot."""
    return [case(100 + i, 1 + i % 2, low=False, dotted=False)[0] for i in range(count)]


def test_a_cue_that_is_seen_needs_no_effect() -> None:
    """What only this class's pictures show where the model looks is told, without a trial."""
    (found,) = find_shortcuts([*cases(10)[0], *others(40)])
    assert found.likeness == (0, 70)
    assert found.is_proven
    assert found.text == (
        "cat: 10 of 12 right answers rest on what lies top right (95 %: 55 to 95 %; other classes "
        "0 of 70). 0 of 70 pictures of other classes look like theirs there."
    )


def brighten(samples: list[Sample]) -> list[Sample]:
    """Return samples of brighter pictures."""
    made = [replace(s.explanation, pixels=s.explanation.pixels + 0.3) for s in samples]
    return [replace(s, explanation=e) for s, e in zip(samples, made, strict=True)]


def test_a_cue_that_is_everywhere_is_said_to_be() -> None:
    """Brighter pictures are the class's own beside the place as well; a dot is there alone."""
    cats, rest = cases(10)[0][:12], [*cases(10)[0][12:], *others(40)]
    (found,) = find_shortcuts([*brighten(cats), *rest])
    assert found.is_wide
    assert "So it is beside that place: what they share is not there alone" in found.text
    for samples in ([*cats, *rest], brighten([*cats, *rest])):
        (found,) = find_shortcuts(samples)
        assert found.is_proven
        assert not found.is_wide


def test_empty_ground_is_where_it_looks_and_no_shortcut() -> None:
    """Other classes have the same there; that erasing turns predictions does not prove it."""
    made = [case(i, 0, low=i < 10, dotted=False) for i in range(12)]
    made += [case(20 + i, 1 + i % 2, low=False, dotted=False) for i in range(70)]
    generator = torch.Generator().manual_seed(0)

    class NeedsDarkness(ReadsDot):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            is_dark = images[:, 0, :4, -4:].amax(dim=(1, 2)) < 0.1
            is_thin = (images[:, 0, 12:16, 12:16] - 0.4).abs().amax(dim=(1, 2)) < 1e-3
            logits[:, 0] = 20.0 * (is_dark & is_thin) - 10.0
            return logits

    for sample, probe in made:
        image = probe.call.images
        image[..., :4, -4:] = 0.05 * torch.rand(4, 4, generator=generator)
        image[..., 4:9, -9:] = 0.5  # what the place is filled with, once erased
        sample.explanation.pixels.copy_(image[0].expand(3, -1, -1))
    samples, probes = [s for s, _ in made], [p for _, p in made]
    (found,) = find_shortcuts(samples)
    assert found.likeness is not None
    assert found.likeness.like > 35
    tried = try_cause(
        found, samples, probes, module=NeedsDarkness(), prepare=lambda c: c, task=Classification()
    )
    assert tried.erased is not None
    assert tried.erased.is_cause
    assert tried.pasted is not None
    assert tried.pasted.flipped == 0
    assert not tried.is_proven
    assert "look at what lies top right" in tried.text
    assert tried.text.endswith("That it is a shortcut was not shown.")


def test_no_room_is_said() -> None:
    """Without a control nothing is claimed."""
    samples, probes = cases(10)
    full = [
        replace(s, explanation=replace(s.explanation, reference_mask=torch.ones(SIDE, SIDE) > 0))
        for s in samples
    ]
    (found,) = find_shortcuts(samples)
    tried = try_cause(
        found, full, probes, module=ReadsDot(), prepare=lambda c: c, task=Classification()
    )
    assert tried.erased is None
    assert "no region of its size is free" in tried.text
