"""Do maps point at what the prediction hangs on? Windows of the picture are hidden to see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .perturbation import ask_all
from .subject import Subject

WINDOWS = 4
"""So many windows a side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What predictions lose as one window after the other is hidden.

    Args:
        values: Of confidence, `[B, W]` in [-1, 1], on the CPU.
        windows: `[W, height, width]` bool; together they are the picture.
    """

    values: Tensor
    windows: Tensor

    @property
    def most(self) -> Tensor:
        """The most that each loses by any window, `[B]`."""
        return self.values.amax(dim=1)

    def at_peak(self, saliency: Tensor) -> Tensor:
        """Return what each loses by the window that its map has most of, `[B]`.

        Args:
            saliency: `[B, height, width]`, not constant.
        """
        inside = self.windows.flatten(1).float()
        means = saliency.flatten(1).cpu().float() @ (inside / inside.sum(1, keepdim=True)).T
        return self.values.gather(1, means.argmax(dim=1, keepdim=True))[:, 0]


def find_losses(subject: Subject, *, batch_size: int = 16) -> Losses:
    """Return what the confidence in what is predicted loses where windows are hidden.

    A hidden window has the picture's mean colour, as in Occlusion.

    Args:
        subject: What is explained; its layer plays no part.
        batch_size: Changed pictures a forward.

    Source: Zeiler and Fergus, 2014, arXiv 1311.2901, section 4.2, here as what maps are measured
    against, by their peak: Zhang et al., 2016, arXiv 1608.00507, section 4.1 (the pointing game).
    """
    with torch.no_grad():
        prediction = subject.task.predict(subject.call.run(subject.module))
    images, (height, width) = subject.images, subject.picture_size
    windows = torch.zeros(WINDOWS, WINDOWS, height, width, dtype=torch.bool, device=images.device)
    edges = [[side * i // WINDOWS for i in range(WINDOWS + 1)] for side in (height, width)]
    for row in range(WINDOWS):
        for column in range(WINDOWS):
            (top, end), (left, right) = (
                (edge[i], edge[i + 1]) for edge, i in zip(edges, (row, column), strict=True)
            )
            windows[row, column, top:end, left:right] = True
    windows = windows.flatten(0, 1)
    grey = images.mean(dim=(2, 3), keepdim=True, dtype=torch.float32).to(images.dtype)

    def perturb(rows: Tensor, columns: Tensor) -> Tensor:
        return images[rows].where(~windows[columns, None], grey[rows])

    confidences = ask_all(
        subject, prediction, len(windows), batch_size, perturb, subject.task.confidence
    )
    lost = prediction.confidences.float()[:, None] - confidences
    return Losses(values=lost.cpu(), windows=windows.cpu())
