"""Which training pictures look like a cue, by the model's own features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPicture:
    """A training picture beside a cue.

    Args:
        index: In the training data set.
        file: Path or id, as batch or data set name it; None where none is sure.
        label: Its class; None where that isn't known.
        likeness: Cosine of the most alike place to the cue, in [-1, 1].
    """

    index: int
    file: str | None
    label: int | None
    likeness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList:
    """Training pictures, those that look most like a cue first.

    Args:
        pictures: That were looked at.
        total: Of the training data.
        note: Why there are none; empty if there are.
    """

    pictures: tuple[TrainingPicture, ...] = ()
    total: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """What the list is, in a sentence."""
        if self.note:
            return f"No training pictures are listed: {self.note}."
        count = len(self.pictures)
        seen = f"all {count:,}" if count == self.total else f"{count:,} of {self.total:,}"
        return f"shortcut_training.csv lists {seen} training pictures, the most alike first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What a cue looks like at a layer.

    Args:
        direction: Of its features, less `centre`, `[C]`; of length 1.
        centre: Mean features of pictures without it, `[C]`.
    """

    direction: Tensor
    centre: Tensor

    def likeness(self, maps: Tensor) -> Tensor:
        """Return the cosine of each picture's most alike place, `[B]`, for maps `[B, C, h, w]`.

        A cue may lie elsewhere in a training picture, which is flipped or cut.
        """
        centred = F.normalize(maps.float() - self.centre[None, :, None, None], dim=1)
        return torch.einsum("bchw,c->bhw", centred, self.direction).flatten(1).amax(dim=1)


def learn_cue(maps: Tensor, regions: Tensor, others: Tensor) -> Cue:
    """Return what a cue looks like: the mean features of its regions, less those of others.

    Args:
        maps: Features of pictures that bear it, `[B, C, h, w]`.
        regions: Where it lies in each, `[B, H, W]` bool; a place of the map counts by its share.
        others: Features of pictures that don't, `[N, C, h', w']`; none if N is 0.

    Example:
        >>> maps = torch.zeros(1, 2, 1, 2)
        >>> maps[0, 1, 0, 0] = 3.0
        >>> region = torch.tensor([[[True, False]]])
        >>> learn_cue(maps, region, torch.zeros(0, 2, 1, 2)).likeness(maps)
        tensor([1.])
    """
    size = maps.shape[-2], maps.shape[-1]
    weights = F.adaptive_avg_pool2d(regions[:, None].float(), size)
    inside = (maps.float() * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp_min(1e-12)
    own = inside[weights.flatten(1).sum(dim=1) > 0].mean(dim=0)
    centre = others.float().mean(dim=(0, 2, 3)) if len(others) else torch.zeros_like(own)
    return Cue(direction=F.normalize(own - centre, dim=0), centre=centre)
