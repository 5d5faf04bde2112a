"""Changed pictures for people are what the network was given, un-normalised."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.calls import Call
from lightning_vlmxai.rounds import Interval
from lightning_vlmxai.shortcuts import Change, Effect, erase_effect, paste_effect
from lightning_vlmxai.shortcuts.shown import MOST, show
from lightning_vlmxai.tasks import Classification
from samples import make_explanation

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))


class _Notes(nn.Module):
    """Keeps what it is given; the second class is as likely as the picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images)
        bright = images.mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright], dim=1)


def test_they_are_what_the_network_was_given() -> None:
    """Erased and pasted, for uneven regions; confidences are those of its answers."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(4, 3, 16, 16, generator=generator)
    regions = torch.zeros(4, 16, 16, dtype=torch.bool)
    regions[:, 2:9, 5:14] = True
    regions[1] = torch.rand(16, 16, generator=generator) > 0.5
    controls = regions.roll(5, dims=1)
    inputs = (pixels - MEAN) / STD
    of = {10 + i: replace(make_explanation(10 + i), pixels=pixels[i]) for i in range(4)}
    module, task, call = _Notes(), Classification(), Call.of_images(inputs)
    labels = module(inputs).argmax(dim=1)
    label = int(labels[0])
    module.given.clear()
    erased = erase_effect(module, call, task, regions, controls, label)
    assert erased is not None
    rows = [change.row for change in erased.changes]
    moved = erased._replace(changes=tuple(c._replace(row=10 + c.row) for c in erased.changes))
    shown = show("erased", moved, of, {10 + i: regions[i] for i in range(4)})
    assert [one.probe for one in shown] == [10 + row for row in rows]
    for row, one in zip(rows, shown, strict=True):
        expected = (module.given[1][row] * STD + MEAN).clamp(0, 1)
        assert torch.allclose(one.pixels, expected, atol=1e-5)
    for place, row in enumerate(rows):
        answers = [_Notes()(images[row : row + 1]).softmax(dim=1).max() for images in module.given]
        assert erased.confidences[place] == pytest.approx([float(a) for a in answers], abs=1e-6)
    module.given.clear()
    turn = [1, 2, 3, 0]
    pasted = paste_effect(
        module, call, task, inputs[turn], regions[turn], controls[turn], label=1 - label
    )
    assert pasted is not None
    rows = [change.row for change in pasted.changes]
    moved = pasted._replace(changes=tuple(c._replace(row=10 + c.row) for c in pasted.changes))
    donors = {10 + i: 10 + k for i, k in enumerate(turn)}
    shown = show("pasted", moved, of, {10 + i: regions[k] for i, k in enumerate(turn)}, donors)
    for row, one in zip(rows, shown, strict=True):
        assert torch.allclose(one.pixels, module.given[1][row] * STD + MEAN, atol=1e-5)


def test_only_so_many_are_kept() -> None:
    """And of nothing there is none."""
    changes = tuple(Change(i, 0, 1, 0) for i in range(MOST + 5))
    effect = Effect(MOST + 5, 1, 0, Interval(0.0, 1.0), 0.0, 0.0, changes)
    of = {i: make_explanation(i) for i in range(MOST + 5)}
    region = torch.zeros(8, 8, dtype=torch.bool)
    assert len(show("erased", effect, of, dict.fromkeys(of, region))) == MOST
    assert show("erased", None, of, {}) == ()
