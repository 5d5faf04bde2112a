"""The formulas once more, the slow and literal way: one picture, one channel, one pixel at a time.

Written from the papers, without any function of the package and without any tensor operation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Map = list[list[float]]


def weighted_sum(weights: list[float], channels: list[Map]) -> Map:
    """Return `ReLU(sum_k w_k A_k)`."""
    rows, columns = len(channels[0]), len(channels[0][0])
    return [
        [
            max(0.0, sum(w * channel[i][j] for w, channel in zip(weights, channels, strict=True)))
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def entries(channel: Map) -> list[float]:
    """Return a map's entries in a row."""
    return [value for row in channel for value in row]


def gradcam(a: list[Map], g: list[Map]) -> Map:
    """Grad-CAM."""
    return weighted_sum([sum(entries(gk)) / len(entries(gk)) for gk in g], a)


def gradcam_plus_plus(a: list[Map], g: list[Map]) -> Map:
    """Grad-CAM++, with the 1e-6 that the docstring admits."""
    weights = []
    for ak, gk in zip(a, g, strict=True):
        total = sum(entries(ak))
        weight = 0.0
        for slope in entries(gk):
            if slope != 0:
                alpha = slope**2 / (2 * slope**2 + slope**3 * total + 1e-6)
                weight += alpha * max(0.0, slope)
        weights.append(weight)
    return weighted_sum(weights, a)


def xgradcam(a: list[Map], g: list[Map]) -> Map:
    """XGrad-CAM, with the 1e-7 that the docstring admits."""
    weights = []
    for ak, gk in zip(a, g, strict=True):
        total = sum(entries(ak)) + 1e-7
        weights.append(sum(x * y for x, y in zip(entries(ak), entries(gk), strict=True)) / total)
    return weighted_sum(weights, a)


def hirescam(a: list[Map], g: list[Map]) -> Map:
    """HiResCAM."""
    return [
        [
            max(0.0, sum(ak[i][j] * gk[i][j] for ak, gk in zip(a, g, strict=True)))
            for j in range(len(a[0][0]))
        ]
        for i in range(len(a[0]))
    ]


def layercam(a: list[Map], g: list[Map]) -> Map:
    """LayerCAM."""
    positive = [[[max(0.0, value) for value in row] for row in gk] for gk in g]
    return hirescam(a, positive)


def eigencam(a: list[Map], steps: int = 3000) -> Map:
    """EigenCAM: the first right singular vector by power iteration on the covariance."""
    rows, columns, count = len(a[0]), len(a[0][0]), len(a)
    points = [[a[k][i][j] for k in range(count)] for i in range(rows) for j in range(columns)]
    mean = [sum(p[k] for p in points) / len(points) for k in range(count)]
    centred = [[p[k] - mean[k] for k in range(count)] for p in points]
    v = [1.0 + 0.01 * k for k in range(count)]
    for _ in range(steps):
        projected = [sum(x * y for x, y in zip(p, v, strict=True)) for p in centred]
        v = [sum(s * p[k] for s, p in zip(projected, centred, strict=True)) for k in range(count)]
        norm = math.sqrt(sum(x * x for x in v))
        v = [x / norm for x in v]
    projection = [sum(x * y for x, y in zip(p, v, strict=True)) for p in centred]
    if -min(projection) > max(projection):
        projection = [-p for p in projection]
    return [[max(0.0, projection[i * columns + j]) for j in range(columns)] for i in range(rows)]


def min_max(values: Map) -> Map:
    """Return a map scaled to [0, 1] by its own range, without any epsilon."""
    low, high = min(entries(values)), max(entries(values))
    return [[(value - low) / (high - low) for value in row] for row in values]


def enlarge(values: Map, height: int, width: int, *, align_corners: bool = False) -> Map:
    """Return a map resized bilinearly, pixel by pixel."""
    rows, columns = len(values), len(values[0])

    def place(at: int, new: int, old: int) -> tuple[int, int, float]:
        if align_corners:
            x = at * (old - 1) / (new - 1) if new > 1 else 0.0
        else:
            x = min(max((at + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        low = min(int(x), old - 1)
        return low, min(low + 1, old - 1), x - low

    out: Map = []
    for y in range(height):
        top, bottom, down = place(y, height, rows)
        row = []
        for x in range(width):
            left, right, across = place(x, width, columns)
            upper = values[top][left] * (1 - across) + values[top][right] * across
            lower = values[bottom][left] * (1 - across) + values[bottom][right] * across
            row.append(upper * (1 - down) + lower * down)
        out.append(row)
    return out


def softmax(values: list[float]) -> list[float]:
    """Return the softmax."""
    largest = max(values)
    powers = [math.exp(value - largest) for value in values]
    return [power / sum(powers) for power in powers]


def as_tensor(values: Map) -> Tensor:
    """Return a map as a float32 tensor."""
    return torch.tensor(values, dtype=torch.float32)
