"""Train a mini, and count how often a map's peak lies in the right cell."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vlmxai.attribution import normalize_saliency

from .data import CELL, GRID, draw
from .models import MINIS


def train(name: str, seed: int, steps: int = 400) -> nn.Module:
    """Return a mini that tells the classes apart, in eval mode."""
    torch.manual_seed(seed)
    model = MINIS[name]().train()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for step in range(steps):
        images, classes, _ = draw(48, seed=1000 * seed + step, with_none=True)
        loss = F.cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def hit_rate(raw: Tensor, cells: Tensor) -> float:
    """Return the share of raw maps, `[B, h, w]`, whose peak lies in the right cell."""
    rows, columns = GRID
    maps = normalize_saliency(raw, size=(rows * CELL, columns * CELL))
    sums = F.avg_pool2d(maps[:, None], CELL).flatten(1)
    hits = (sums.argmax(dim=1) == cells) & (sums.amax(dim=1) > 0)
    return float(hits.float().mean())


def accuracy(model: nn.Module, seed: int = 99) -> float:
    """Return the share of fresh pictures that are told right."""
    images, classes, _ = draw(256, seed)
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == classes).float().mean())


def pictures(count: int = 96) -> Any:
    """Return fresh pictures, classes and cells."""
    return draw(count, seed=77)
