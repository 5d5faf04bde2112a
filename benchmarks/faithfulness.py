"""What faithfulness figures cost over the bare forwards that they need.

Run `python benchmarks/faithfulness.py`. The network notes the batches that it is given; then the
same batches go through it alone, in turns with the figures, as CPU time of one thread.
"""

from __future__ import annotations

import os
import platform
import statistics
import time

import torch
from torch import Tensor, nn
from torchvision.models import convnext_tiny, resnet18
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from lightning_vlmxai.explain import LiveModel
from lightning_vlmxai.tasks import Classification, Segmentation, Task
from lightning_vlmxai.trust import FAITHFULNESS, faithfulness

PICTURES, TURNS = 2, 3


class Logits(nn.Module):
    """A segmentation network whose output is its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, K, H, W]`."""
        logits: Tensor = self.network(images)["out"]
        return logits


MODELS: dict[str, tuple[nn.Module, Task, int]] = {
    "ResNet-18": (resnet18(), Classification(), 224),
    "ConvNeXt T": (convnext_tiny(), Classification(), 224),
    "LRASPP MobileNetV3": (
        Logits(lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=21)),
        Segmentation(),
        160,
    ),
}


def _measure(module: nn.Module, task: Task, side: int) -> tuple[int, float, float]:
    """Return pictures that go through the network, seconds of these alone, and the ratio."""
    torch.manual_seed(0)
    module.eval()
    images, maps = torch.rand(PICTURES, 3, side, side), torch.rand(PICTURES, 7, 7)
    live, given = LiveModel(module), []
    handle = module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    faithfulness(live, images, maps, task)
    handle.remove()
    bare, ratios = [], []
    for _ in range(TURNS):
        start = time.process_time()
        with torch.no_grad():
            for batch in given:
                module(batch)
        middle = time.process_time()
        faithfulness(live, images, maps, task)
        bare.append(middle - start)
        ratios.append((time.process_time() - middle) / bare[-1])
    return sum(map(len, given)), min(bare), statistics.median(ratios)


def main() -> None:
    """Print a row for each model."""
    torch.set_num_threads(1)
    print(f"{platform.platform()}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f}\n")
    print(f"{', '.join(FAITHFULNESS)} of {PICTURES} pictures\n")
    print("| model | pictures through the network | these alone | figures / these alone |")
    print("|---|---:|---:|---:|")
    for name, (module, task, side) in MODELS.items():
        count, bare, ratio = _measure(module, task, side)
        print(f"| {name}, {side} px | {count} | {bare:.1f} s | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
