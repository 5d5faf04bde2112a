"""Scenes that are drawn where there is no data: a plain shape on a mottled ground."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .controls import Subject

SCENE_NAMES = ("circle", "square", "triangle", "cross", "ring")
"""Classes of the scenes."""


def draw_scenes(count: int, *, seed: int = 0, side: int = 224) -> list[Subject]:
    """Return drawn pictures of one shape each, its name, and where it is.

    They are easier than photographs: a judge that fails on them is of no use, one that does well
    on them may still fail on photographs.

    Args:
        count: Number of scenes; classes take turns.
        seed: Of all chance.
        side: Of the pictures, in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    return [_draw(number, generator, side) for number in range(count)]


def _draw(number: int, generator: torch.Generator, side: int) -> Subject:
    name = SCENE_NAMES[number % len(SCENE_NAMES)]
    radius, across, down, turn = torch.rand(4, generator=generator).tolist()
    radius = 0.2 + 0.08 * radius
    centre = [radius + place * (1 - 2 * radius) for place in (across, down)]
    on = _shape(name, centre, radius, 1.5 * turn, side)
    # A light ground, so that what is kept of it is as visible as the shape.
    coarse = 0.6 + 0.35 * torch.rand(1, 3, 9, 9, generator=generator)
    ground = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)[0]
    ground += 0.03 * torch.randn(ground.shape, generator=generator)
    colour = 0.15 + 0.75 * torch.rand(3, generator=generator)
    colour[int(torch.randint(3, (1,), generator=generator))] = 0.1
    shade = colour[:, None, None] + 0.02 * torch.randn(ground.shape, generator=generator)
    pixels = torch.where(on, shade, ground).clamp(0, 1)
    return Subject(index=number, pixels=pixels, label_name=name, reference_mask=on)


def _shape(name: str, centre: list[float], radius: float, turn: float, side: int) -> Tensor:
    """Return where a shape is, `[side, side]` bool."""
    line = (torch.arange(side) + 0.5) / side
    y, x = (line[:, None] - centre[1]) / radius, (line[None, :] - centre[0]) / radius
    distance = (x * x + y * y).sqrt()
    if name == "circle":
        return distance <= 1
    if name == "ring":
        return (distance <= 1) & (distance >= 0.5)
    angle = torch.tensor(turn)
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    if name == "square":
        return (u.abs() <= 0.8) & (v.abs() <= 0.8)
    if name == "cross":
        arms = (u.abs() <= 0.35) | (v.abs() <= 0.35)
        return arms & (u.abs() <= 1) & (v.abs() <= 1)
    thirds = [2 * torch.pi * third / 3 + turn for third in range(3)]
    sides = [x * torch.tensor(t).cos() + y * torch.tensor(t).sin() <= 0.55 for t in thirds]
    return sides[0] & sides[1] & sides[2]
