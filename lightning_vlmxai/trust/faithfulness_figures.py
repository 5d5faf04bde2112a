"""Faithfulness figures: what a model's answer does as pixels go by the order of a saliency map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..calls import Call, as_call
from ..errors import ConfigurationError, expected
from ..explain import LiveModel
from ..tasks import Task

_Keep = Callable[[Tensor, Tensor], Tensor]
_Ask = Callable[[_Keep, Sequence[int]], Tensor]

FAITHFULNESS = ("deletion", "insertion", "average_drop", "increase", "aopc")
"""Names of the figures of `faithfulness`."""


def faithfulness(
    live: LiveModel,
    inputs: Tensor | Call,
    maps: Tensor,
    task: Task,
    *,
    figures: Sequence[str] = FAITHFULNESS,
    steps: int = 20,
    regions: int = 7,
    baseline: Tensor | None = None,
    batch_size: int = 16,
) -> dict[str, Tensor]:
    """Return faithfulness figures of saliency maps, each `[B]` float32, on the CPU.

    The model is borrowed, so that it is afterwards as it was. `f` is `task.confidence`: the
    probability of the class that the whole picture is predicted (softmax or sigmoid, not logits;
    of a segmentation, what the task makes of the class's pixels). What is taken away has the
    baseline's value in all channels, and equal pixels go in reading order.

    Args:
        live: The model.
        inputs: What it is called with, on its device; a tensor is pictures `[B, C, H, W]`.
        maps: `[B, h, w]`, in [0, 1], enlarged bilinearly without aligned corners.
        task: How the output is read.
        figures: Which are wanted, of `FAITHFULNESS`.
        steps: At most so many steps of deletion and insertion, of equally many pixels each.
        regions: The picture is cut into so many by so many regions for AOPC.
        baseline: What is broadcast to the pictures, in the model's input space; 0 if None, which
            is the mean colour where pictures are normalised.
        batch_size: Changed pictures a forward.

    Returns:
        - `deletion`, in [0, 1], low is faithful: area under `f` over the share of pixels taken
          away, the most salient first, by trapezoids (Petsiuk et al., 2018, arXiv 1806.07421).
        - `insertion`, in [0, 1], high is faithful: the same, as they are put on the baseline.
        - `average_drop`, in [0, 1], low is faithful: `max(0, f(x) - f(e)) / f(x)` with
          `e = map * x + (1 - map) * baseline` (Chattopadhyay et al., 2018, arXiv 1710.11063). Its
          mean over pictures is the paper's, which is in percent.
        - `increase`, 1 where `f(e) > f(x)`, else 0: the mean is Increase in Confidence.
        - `aopc`, in [-1, 1], high is faithful: the mean of `f(x) - f(x_k)` for k = 0 to all, where
          the k regions of the largest sum are taken away (Samek et al., 2015, arXiv 1509.06321;
          there with random values, here with the baseline).

        A constant map has no order: `deletion`, `insertion` and `aopc` are NaN.

    Raises:
        ConfigurationError: If an argument is out of its range.
    """
    call = as_call(inputs)
    images = call.images
    _check(figures, maps, images, steps=steps, regions=regions, batch_size=batch_size)
    base = torch.zeros_like(images) if baseline is None else baseline.to(images).expand_as(images)
    size = images.shape[-2:]
    is_flat = (maps.amax(dim=(1, 2)) == maps.amin(dim=(1, 2))).to(images.device)
    enlarged = maps.to(images.device, torch.float32)[:, None]
    large = F.interpolate(enlarged, size, mode="bilinear", align_corners=False)[:, 0]

    with live.lent() as network:
        prediction = task.predict(call.run(network)).detach()
        rows = torch.arange(len(images), device=images.device)

        def ask(keep: _Keep, numbers: Sequence[int]) -> Tensor:
            """Return `f` where the so many are kept or taken, `[B, len(numbers)]`."""
            if not numbers:
                return images.new_empty(len(rows), 0, dtype=torch.float32)
            of = rows.repeat_interleave(len(numbers))
            which = torch.tensor(numbers, device=rows.device).repeat(len(rows))
            found = []
            for row, number in zip(
                torch.split(of, batch_size), torch.split(which, batch_size), strict=True
            ):
                kept = keep(row, number)[:, None].to(images.dtype)
                changed = images[row] * kept + base[row] * (1 - kept)
                answer = call.take(row).with_images(changed).run(network)
                found.append(task.confidence(answer, prediction.rows(row)).float())
            return torch.cat(found).view(len(rows), len(numbers))

        whole = prediction.confidences.float()
        return _figures(figures, large, is_flat, whole, ask, steps, regions)


def _figures(
    figures: Sequence[str],
    maps: Tensor,
    is_flat: Tensor,
    whole: Tensor,
    ask: _Ask,
    steps: int,
    regions: int,
) -> dict[str, Tensor]:
    """Return the figures that are wanted; what several need is asked once."""
    found: dict[str, Tensor] = {}
    wanted, whole = set(figures), whole[:, None]
    if wanted & {"deletion", "insertion", "aopc"}:
        empty = ask(lambda row, _: torch.zeros_like(maps[row]), [0])
    if wanted & {"deletion", "insertion"}:
        ranks, pixels = _ranks(maps.flatten(1)).view_as(maps), maps[0].numel()
        counts = [*range(0, pixels, -(-pixels // steps)), pixels]
        shares = torch.tensor(counts, device=maps.device) / pixels
        if "deletion" in wanted:
            inner = ask(lambda row, n: ranks[row] >= n[:, None, None], counts[1:-1])
            curve = torch.cat([whole, inner, empty], dim=1)
            found["deletion"] = torch.trapezoid(curve, shares)
        if "insertion" in wanted:
            inner = ask(lambda row, n: ranks[row] < n[:, None, None], counts[1:-1])
            curve = torch.cat([empty, inner, whole], dim=1)
            found["insertion"] = torch.trapezoid(curve, shares)
    if "aopc" in wanted:
        order, count = _region_ranks(maps, regions)
        inner = ask(lambda row, n: order[row] >= n[:, None, None], range(1, count))
        found["aopc"] = (whole - torch.cat([whole, inner, empty], dim=1)).mean(dim=1)
    found = {name: values.masked_fill(is_flat, torch.nan) for name, values in found.items()}
    if wanted & {"average_drop", "increase"}:
        masked = ask(lambda row, _: maps[row], [0])
        found["average_drop"] = ((whole - masked).relu() / whole)[:, 0]
        found["increase"] = (masked > whole)[:, 0].float()
    return {name: found[name].cpu() for name in figures}


def _ranks(values: Tensor) -> Tensor:
    """Return each value's place in its row, the largest first, `[B, N]`."""
    return values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def _region_ranks(maps: Tensor, regions: int) -> tuple[Tensor, int]:
    """Return the rank of each pixel's region, `[B, H, W]`, and how many regions there are."""
    height, width = maps.shape[-2:]
    tall, wide = -(-height // regions), -(-width // regions)
    across = -(-width // wide)
    down = torch.arange(height, device=maps.device) // tall
    number = down[:, None] * across + torch.arange(width, device=maps.device) // wide
    count = across * -(-height // tall)
    # One-hot sums, as scattered ones are in no fixed order on a GPU.
    members = F.one_hot(number.flatten(), count).double()
    sums = maps.flatten(1).double() @ members
    return _ranks(sums)[:, number.flatten()].view_as(maps), count


def _check(figures: Sequence[str], maps: Tensor, images: Tensor, **counts: int) -> None:
    unknown = [name for name in figures if name not in FAITHFULNESS]
    if unknown or isinstance(figures, str):
        raise ConfigurationError(
            expected(
                "figures", f"of {FAITHFULNESS}", figures, 'Pass figures=("deletion", "insertion")'
            )
        )
    for name, count in counts.items():
        if count < 1:
            raise ConfigurationError(expected(name, "at least 1", count, f"Pass {name}=16"))
    if maps.ndim != 3 or len(maps) != len(images):
        raise ConfigurationError(
            expected(
                "maps",
                f"[{len(images)}, h, w]",
                list(maps.shape),
                "Pass a map for each picture, as in maps.squeeze(1)",
            )
        )
    # NaN is in no range.
    if not bool(((maps >= 0) & (maps <= 1)).all()):
        low, high = float(maps.min()), float(maps.max())
        raise ConfigurationError(
            expected("maps", "in [0, 1]", f"[{low:g}, {high:g}]", "Pass normalize_saliency(maps)")
        )
