"""Methods that ask the model about changed pictures, or changed activations, in bounded batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError, expected
from ..tasks import Prediction
from .behind import Behind
from .hooks import Place, changed, named_layers
from .methods import cam
from .subject import Attribution, Subject

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """How far the perturbation methods go.

    Args:
        batch_size: Changed pictures a forward; this bounds the memory.
        top_channels: Score-CAM and Ablation-CAM ask only about the so many channels of the
            largest spatial deviation, the others count nothing; None asks about all.
        masks: Random masks of RISE.
        cells: Cells a side of a RISE mask; Occlusion's window is one, moved by half of it.
        keep: Chance that a cell is kept, in (0, 1).
        seed: Of the RISE masks: they are the same for all pictures and in all rounds.
    """

    batch_size: int = 16
    top_channels: int | None = None
    masks: int = 2000
    cells: int = 7
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "top_channels", "masks", "cells"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(expected(name, "at least 1", value, f"Pass {name}=16"))
        if not 0.0 < self.keep < 1.0:
            raise ConfigurationError(expected("keep", "in (0, 1)", self.keep, "Pass keep=0.5"))

    def bounds_of(self, method: str) -> dict[str, Any] | None:
        """Return what changes the maps of a method; None of one that asks about no changes.

        Example:
            >>> Perturbation(cells=5).bounds_of("occlusion"), Perturbation().bounds_of("gradcam")
            ({'cells': 5}, None)
        """
        names = _BOUNDS.get(method)
        return None if names is None else {name: getattr(self, name) for name in names}


_BOUNDS = {
    "scorecam": ("top_channels",),
    "ablationcam": ("top_channels",),
    "rise": ("masks", "cells", "keep", "seed"),
    "occlusion": ("cells",),
}


def scorecam(subject: Subject, options: Perturbation) -> Attribution:
    """Return Score-CAM, `ReLU(sum_k w_k A_k)` with `w = softmax_k y_c(x * minmax(up(A_k)))`.

    Args:
        subject: What is explained.
        options: Bounds of it.

    Source: Wang et al., 2020, arXiv 1910.01279, Eq. 6 and 7; the score of the baseline picture
    cancels in the softmax. The paper doesn't say how to enlarge; corners are aligned, as in
    pytorch-grad-cam. Constant channels all mask the whole picture, so a sample's share one answer.
    """
    captured, prediction = subject.capture(gradients=False)
    maps, _ = _choose_channels(captured.activations, options.top_channels)
    is_constant = maps.amax(dim=(2, 3)) == maps.amin(dim=(2, 3))
    asked = ~is_constant | (is_constant & (is_constant.cumsum(dim=1) == 1))

    def perturb(rows: Tensor, columns: Tensor) -> Tensor:
        up = F.interpolate(
            maps[rows, columns].unsqueeze(1),
            size=subject.picture_size,
            mode="bilinear",
            align_corners=True,
        )
        low, high = up.amin(dim=(2, 3), keepdim=True), up.amax(dim=(2, 3), keepdim=True)
        masks = (up - low) / (high - low + 1e-8)
        return subject.images[rows] * masks.to(subject.images.dtype)

    answer = _answer_to(subject, perturb)
    scores = _ask(prediction, asked, options.batch_size, answer, subject.task.score)
    shared = scores.where(asked & is_constant, 0.0).sum(dim=1, keepdim=True)
    scores = torch.where(is_constant, shared, scores)
    return Attribution(raw=cam(maps, scores.softmax(dim=1)), prediction=prediction)


def ablationcam(subject: Subject, options: Perturbation) -> Attribution:
    """Return Ablation-CAM, `ReLU(sum_k w_k A_k)` with `w_k = (y - y_{A_k = 0}) / y`.

    Args:
        subject: What is explained.
        options: Bounds of it.

    Source: Desai and Ramaswamy, 2020, WACV, Eq. 3. pytorch-grad-cam sets a channel 1e7 below the
    smallest activation instead of to 0 where activations can be negative; here it is 0 throughout.
    """
    name = next(n for n, one in named_layers(subject.module).items() if one is subject.layer)
    place = replace(subject.place or Place(name=name), name=name)
    behind = Behind(subject.module, place, subject.call, in_rows=True)
    with behind.whole():
        captured, prediction = subject.capture(gradients=False)
    maps, channels = _choose_channels(captured.activations, options.top_channels)
    count = captured.activations.shape[1]
    ablated: list[Tensor] = []
    first = 0

    def ablate(features: Tensor) -> Tensor:
        nonlocal first
        is_first = features.ndim == 4 and features.shape[1] == count
        samples, axis = 0, 1 if is_first else features.ndim - 1
        if subject.layout is not None:
            samples, axis = subject.layout.rows, subject.layout.channels
        own = features.shape[axis]
        shape = [1] * features.ndim
        shape[samples], shape[axis] = features.shape[samples], own
        # The channels of a layer that runs several times are numbered through its runs.
        numbers = torch.arange(first, first + own, device=features.device)
        first = (first + own) % count
        return features * (numbers != ablated[-1][:, None]).to(features.dtype).view(shape)

    def answer(rows: Tensor, columns: Tensor) -> Any:
        call = subject.call.take(rows)

        def run() -> Any:
            nonlocal first
            ablated[:], first = [channels[rows, columns]], 0
            with changed(subject.layer, ablate, subject.place):
                return call.run(subject.module)

        return behind.again(run, rows, answer=captured.output)

    asked = torch.ones_like(channels, dtype=torch.bool)
    scores = _ask(prediction, asked, options.batch_size, answer, subject.task.score)
    whole = prediction.scores[:, None]
    return Attribution(raw=cam(maps, (whole - scores) / whole), prediction=prediction)


def rise(subject: Subject, options: Perturbation) -> Attribution:
    """Return RISE, `1 / (N p) sum_i f_c(x * M_i) M_i`, with `f_c` the class's probability.

    Args:
        subject: What is explained; its target layer plays no part.
        options: Bounds of it.

    Source: Petsiuk, Das and Saenko, 2018, arXiv 1806.07421, Eq. 6. The paper takes 4000 masks and
    more; the default here is 2000.
    """
    with torch.no_grad():
        prediction = subject.task.predict(subject.call.run(subject.module))
    make = _rise_masks(options, subject.picture_size, subject.images.device)

    def perturb(rows: Tensor, columns: Tensor) -> Tensor:
        return subject.images[rows] * make(columns).unsqueeze(1).to(subject.images.dtype)

    weights = ask_all(
        subject, prediction, options.masks, options.batch_size, perturb, subject.task.confidence
    )
    raw = weights.new_zeros(len(subject.images), *subject.picture_size)
    for columns in _chunks(options.masks, options.batch_size, weights.device):
        raw += cam(make(columns).expand(len(raw), -1, -1, -1), weights[:, columns])
    return Attribution(raw=raw / (options.masks * options.keep), prediction=prediction)


def occlusion(subject: Subject, options: Perturbation) -> Attribution:
    """Return Occlusion, `ReLU` of what the score loses, `y - y_{grey window}`, mean over windows.

    Each pixel has the mean of the windows that cover it, as in captum. A window has the picture's
    mean colour.

    Args:
        subject: What is explained; its target layer plays no part.
        options: Bounds of it.

    Source: Zeiler and Fergus, 2014, arXiv 1311.2901, section 4.2; the ReLU is ours, as in the
    other methods.
    """
    with torch.no_grad():
        prediction = subject.task.predict(subject.call.run(subject.module))
    images, (height, width) = subject.images, subject.picture_size
    tall, wide = -(-height // options.cells), -(-width // options.cells)
    tops, lefts = (
        torch.arange(0, max(side - cell, 0) + (step := max(cell // 2, 1)), step)
        .clamp(max=side - cell)
        .unique()  # type: ignore[no-untyped-call]
        .to(images.device)
        for side, cell in ((height, tall), (width, wide))
    )
    corners = torch.cartesian_prod(tops, lefts)
    grey = images.mean(dim=(2, 3), keepdim=True)
    rows_at, columns_at = (torch.arange(side, device=images.device) for side in (height, width))

    def make(numbers: Tensor) -> Tensor:
        top, left = corners[numbers, 0, None], corners[numbers, 1, None]
        inside = (rows_at >= top) & (rows_at < top + tall)
        across = (columns_at >= left) & (columns_at < left + wide)
        return inside[:, :, None] & across[:, None, :]

    def perturb(rows: Tensor, columns: Tensor) -> Tensor:
        return images[rows].where(~make(columns).unsqueeze(1), grey[rows])

    scores = ask_all(
        subject, prediction, len(corners), options.batch_size, perturb, subject.task.score
    )
    lost = prediction.scores.float()[:, None] - scores
    windows = make(torch.arange(len(corners), device=images.device)).float()
    with torch.autocast(images.device.type, enabled=False):
        raw = F.relu(torch.einsum("bn,nhw->bhw", lost, windows) / windows.sum(dim=0))
    return Attribution(raw=raw, prediction=prediction)


def _rise_masks(
    options: Perturbation, size: tuple[int, int], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return a function from mask numbers, `[N]`, to the masks, `[N, H, W]` in [0, 1]."""
    generator = torch.Generator().manual_seed(options.seed)
    shape = (options.masks, 1, options.cells, options.cells)
    # A bf16-true trainer makes bfloat16 the default dtype.
    drawn = torch.rand(shape, generator=generator, dtype=torch.float32)
    grids = (drawn < options.keep).float().to(device)
    cell = [-(-side // options.cells) for side in size]
    offsets = [
        torch.randint(side, (options.masks,), generator=generator).to(device) for side in cell
    ]
    reach = [torch.arange(side, device=device) for side in size]

    def make(numbers: Tensor) -> Tensor:
        up = F.interpolate(
            grids[numbers],
            size=[(options.cells + 1) * side for side in cell],
            mode="bilinear",
        ).squeeze(1)
        rows = offsets[0][numbers, None] + reach[0]
        columns = offsets[1][numbers, None] + reach[1]
        which = torch.arange(len(numbers), device=device)[:, None, None]
        return up[which, rows[:, :, None], columns[:, None, :]]

    return make


def _choose_channels(activations: Tensor, top: int | None) -> tuple[Tensor, Tensor]:
    """Return the chosen channels' maps, `[B, K, h, w]`, and their numbers, `[B, K]`."""
    batch, count = activations.shape[:2]
    if top is None or top >= count:
        return activations, torch.arange(count, device=activations.device).expand(batch, -1)
    channels = activations.flatten(2).std(dim=2, correction=0).topk(top, dim=1).indices
    return activations.take_along_dim(channels[:, :, None, None], dim=1), channels


def ask_all(
    subject: Subject,
    prediction: Prediction,
    count: int,
    batch_size: int,
    perturb: Callable[[Tensor, Tensor], Tensor],
    read: Callable[[object, Prediction], Tensor],
) -> Tensor:
    """Return what the model says to so many perturbations of each sample, `[B, count]`."""
    asked = torch.ones(len(subject.images), count, dtype=torch.bool, device=subject.images.device)
    return _ask(prediction, asked, batch_size, _answer_to(subject, perturb), read)


def _answer_to(
    subject: Subject, perturb: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Any]:
    """Return a function from numbers of samples and of perturbations to what the model gives."""
    return lambda rows, columns: subject.run(perturb(rows, columns), rows)


def _ask(
    prediction: Prediction,
    asked: Tensor,
    batch_size: int,
    answer: Callable[[Tensor, Tensor], Any],
    read: Callable[[object, Prediction], Tensor],
) -> Tensor:
    """Return what the model says to each perturbation that is asked about, else 0; `[B, N]`.

    Args:
        prediction: Of the whole pictures.
        asked: Which perturbations of which sample, `[B, N]` bool.
        batch_size: Perturbed pictures a forward.
        answer: From numbers of samples and of perturbations, `[n]` each, to the model's output.
        read: From the output and the samples' predictions to one number each.
    """
    rows, columns = asked.nonzero(as_tuple=True)
    chunks = _chunks(len(rows), batch_size, rows.device)
    answers = torch.zeros(asked.shape, dtype=torch.float32, device=rows.device)
    with torch.no_grad():
        for done, chunk in enumerate(chunks, start=1):
            row, column = rows[chunk], columns[chunk]
            answers[row, column] = read(answer(row, column), prediction.rows(row)).float()
            if len(chunks) >= 100 and done % (len(chunks) // 10) == 0:
                logger.info("%d of %d forwards of perturbed pictures", done, len(chunks))
    return answers


def _chunks(count: int, size: int, device: torch.device) -> Sequence[Tensor]:
    return torch.split(torch.arange(count, device=device), size)
