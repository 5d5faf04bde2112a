"""Whether predictions hang on a cue: it is erased, pasted elsewhere, and held against a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calls import Call
from ..rounds import Interval, Pairs, paired_interval
from ..tasks import Prediction, Task


class Change(NamedTuple):
    """Predicted classes of a picture.

    Args:
        row: Of the call.
        before: As it is.
        cue: With the cue erased or pasted.
        control: With the same done in the other place.
    """

    row: int
    before: int
    cue: int
    control: int


class Effect(NamedTuple):
    """What a change of pictures does to predictions, beside the same change in another place.

    Args:
        total: Pictures that were changed both ways.
        flipped: Of these, predictions that turned with the cue.
        control: That turned with the other place.
        interval: Of `(flipped - control) / total`, 95 %, paired.
        moved: Mean change of the confidence in question with the cue, in [-1, 1].
        control_moved: With the other place.
        changes: Of each of these pictures.
        confidences: Of each likewise, in the class that is predicted as it is, with the cue and
            with the control, in [0, 1].
    """

    total: int
    flipped: int
    control: int
    interval: Interval
    moved: float
    control_moved: float
    changes: tuple[Change, ...] = ()
    confidences: tuple[tuple[float, float, float], ...] = ()

    @property
    def is_cause(self) -> bool:
        """Whether the cue turns predictions beyond what the other place does."""
        return self.interval.lower > 0


def erase_effect(
    module: nn.Module, call: Call, task: Task, regions: Tensor, controls: Tensor, label: int
) -> Effect | None:
    """Return what erasing a cue does to the predictions of pictures that bear it.

    Three forwards. A prediction turns where another class comes first; `moved` is of the
    confidence in the class that came first before. Pictures that the model, which may have been
    trained on since they were judged, doesn't predict as `label` count nowhere; None without any.

    Args:
        module: The network, lent.
        call: What it is called with, of at least one row.
        task: How its answer is read.
        regions: Where the cue lies, `[B, H, W]` bool.
        controls: As large a region elsewhere.
        label: The class that goes with the cue.
    """
    before = call.run(module)
    prediction = task.predict(before).detach()
    changed = [erase(call.images, where) for where in (regions, controls)]
    counts = prediction.classes == label
    return _hold(module, call, task, changed, prediction, prediction, counts)


def paste_effect(
    module: nn.Module,
    call: Call,
    task: Task,
    donors: Tensor,
    regions: Tensor,
    controls: Tensor,
    label: int,
) -> Effect | None:
    """Return how many pictures of other classes a cue turns into its own class.

    Three forwards. `moved` is of the confidence in that class. Pictures that the model predicts as
    that class as they are count nowhere; None without any other.

    Args:
        module: The network, lent.
        call: What it is called with, of at least one row.
        task: How its answer is read; of one class a picture.
        donors: A picture with the cue for each, `[B, C, H, W]`, as the network is given it.
        regions: Where the cue lies in it, and is pasted, `[B, H, W]` bool.
        controls: As large a region elsewhere, from which the same is done.
        label: The class that goes with the cue.
    """
    before = call.run(module)
    prediction = task.predict(before).detach()
    classes = torch.full_like(prediction.classes, label)
    wanted = replace(prediction, classes=classes)
    wanted = replace(wanted, confidences=task.confidence(before, wanted).detach())
    changed = [paste(call.images, donors, where) for where in (regions, controls)]
    counts = prediction.classes != label
    return _hold(module, call, task, changed, prediction, wanted, counts)


def erase(images: Tensor, regions: Tensor) -> Tensor:
    """Return pictures whose regions are filled from what surrounds them, smoothly.

    Args:
        images: `[B, C, H, W]`.
        regions: `[B, H, W]` bool. Where one is the whole picture, its mean fills it.

    Example:
        >>> images = torch.zeros(1, 1, 5, 5)
        >>> images[..., 2, 2] = 9.0
        >>> erase(images, images[:, 0] > 0).max()
        tensor(0.)
    """
    known = (~regions)[:, None].to(images.device, torch.float32)
    mean = images.float().mean(dim=(2, 3), keepdim=True)
    filled, seen = images.float() * known, known
    # From the rim inwards: what is not known yet is the mean of its known neighbours.
    while bool((seen == 0).any()):
        weights = F.avg_pool2d(seen, 3, stride=1, padding=1, count_include_pad=False)
        values = F.avg_pool2d(filled * seen, 3, stride=1, padding=1, count_include_pad=False)
        is_new = (seen == 0) & (weights > 0)
        if not bool(is_new.any()):
            filled = torch.where(seen == 0, mean, filled)
            break
        filled = torch.where(is_new, values / weights.clamp_min(1e-12), filled)
        seen = torch.maximum(seen, is_new.float())
    return torch.where(known.bool(), images, filled.to(images.dtype))


def paste(images: Tensor, donors: Tensor, regions: Tensor) -> Tensor:
    """Return pictures with a region of other pictures in the same place.

    Args:
        images: `[B, C, H, W]`.
        donors: `[B, C, H, W]`.
        regions: `[B, H, W]` bool.
    """
    return torch.where(regions[:, None].to(images.device), donors.to(images), images)


def draw_elsewhere(
    regions: Tensor, taken: Tensor | None = None, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return each region moved to where it doesn't meet itself, and which could be moved.

    Args:
        regions: `[B, H, W]` bool.
        taken: What it must not meet either, such as the object, `[B, H, W]` bool.
        seed: Of the choice among the places that are free.

    Returns:
        `[B, H, W]` bool, empty where there is no room, and `[B]` bool.

    Example:
        >>> regions = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> regions[0, 0, 0] = True
        >>> moved, has_room = draw_elsewhere(regions)
        >>> int(moved.sum()), bool((moved & regions).any()), has_room.tolist()
        (1, False, [True])
    """
    generator = torch.Generator().manual_seed(seed)
    moved = torch.zeros_like(regions)
    for row, region in enumerate(regions):
        if not bool(region.any()):
            continue
        rows, columns = region.nonzero().unbind(1)
        top, left = int(rows.min()), int(columns.min())
        shape = region[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        blocked = region if taken is None else region | taken[row]
        # How many blocked pixels the shape would meet, at every place at once.
        met = F.conv2d(blocked.float()[None, None], shape.float()[None, None])[0, 0]
        free = (met < 0.5).nonzero()
        if len(free):
            at = free[int(torch.randint(len(free), (1,), generator=generator))].tolist()
            moved[row, at[0] : at[0] + shape.shape[0], at[1] : at[1] + shape.shape[1]] = shape
    return moved, moved.flatten(1).any(dim=1)


def _hold(
    module: nn.Module,
    call: Call,
    task: Task,
    changed: Sequence[Tensor],
    before: Prediction,
    wanted: Prediction,
    counts: Tensor,
) -> Effect | None:
    """Return how many predictions turn with the cue and with the control, in this order.

    A prediction turns into the class that is wanted or away from it, whichever it was not before.
    """
    classes, moves = [], []
    sure = [before.confidences]
    if not bool(counts.any()):
        return None
    for images in changed:
        answer = call.with_images(images).run(module)
        now = task.predict(answer).detach()
        classes.append(now.classes[counts].cpu())
        sure.append(now.confidences)
        moved = task.confidence(answer, wanted).detach().float() - wanted.confidences.float()
        moves.append(float(moved[counts].mean()))
    was = before.classes[counts].cpu()
    wants = wanted.classes[counts].cpu()
    cue, other = ((now == wants) != (was == wants) for now in classes)
    both = int((cue & other).sum())
    pairs = Pairs(
        both=both,
        first=int(other.sum()) - both,
        second=int(cue.sum()) - both,
        neither=int((~cue & ~other).sum()),
    )
    rows = counts.nonzero().flatten().tolist()
    of_rows = zip(rows, was.tolist(), *(now.tolist() for now in classes), strict=True)
    changes = tuple(Change(*of) for of in of_rows)
    interval = paired_interval(pairs)
    turned = len(cue), int(cue.sum()), int(other.sum())
    columns = [values.detach()[counts].float().cpu().tolist() for values in sure]
    confidences = tuple(zip(columns[0], columns[1], columns[2], strict=True))
    return Effect(*turned, interval, moves[0], moves[1], changes, confidences)
