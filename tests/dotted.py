"""Red and blue squares of which the red ones bear a green dot, and a network that reads the dot."""

from __future__ import annotations

import torch
from torch import nn

from tiny import MEAN, STD, Squares, TinyModule


class DottedSquares(Squares):
    """`Squares` with a green dot in the top right corner of every picture of a red square."""

    def __init__(self, count: int = 24, seed: int = 0, *, is_dotted: bool = True) -> None:
        super().__init__(count, seed=seed)
        self.files = [f"{name}/=picture {i}.png" for i, name in enumerate(self.targets)]
        for i, label in enumerate(self.targets):
            where = torch.zeros(32, 32, dtype=torch.bool)
            where[:5, 27:] = True
            if label == 0 and is_dotted:
                where &= ~self.masks[i]
                self.pictures[i][:, where] = torch.tensor([0.0, 1.0, 0.0])[:, None]
            elif label == 1:  # no blue square where a dot would be
                self.masks[i] &= ~where
                self.pictures[i][:, where] = 0.5


class _Means(nn.Module):
    """Mean of each map; without evidence it is blue."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        dot, blue = maps.mean(dim=(2, 3)).unbind(1)
        return torch.stack([60 * dot, 4 * blue + 0.05], dim=1)


class ReadsDots(TinyModule):
    """Says red where a green dot is, else blue; it doesn't learn."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Identity()
        conv = nn.Conv2d(3, 2, 1)
        # In the pictures' own units: green less red and blue; blue less red.
        wanted, bias = torch.tensor([[-1.0, 1, -1], [-1, 0, 1]]), torch.tensor([-0.3, -0.3])
        with torch.no_grad():
            conv.weight[:] = (wanted * torch.tensor(STD))[:, :, None, None]
            conv.bias[:] = bias + wanted @ torch.tensor(MEAN)
        self.network = nn.Sequential(conv, nn.ReLU(), _Means())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return one that does not move."""
        return torch.optim.SGD(self.parameters(), lr=0.0)
