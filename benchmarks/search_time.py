"""How much longer the search for a layer takes than one forward of the same model.

    python benchmarks/search_time.py resnet18 vit_b_16 vit_h_14

CPU time of one thread, random weights. The forward is of one picture, 224 x 224: the search runs
two pictures once, and from some layer on one picture a few times. Forward and search take turns;
the least of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torchvision

from lightning_vlmxai.attribution import locate
from lightning_vlmxai.explain.live import borrowed

MODELS = (
    "mobilenet_v3_large",
    "efficientnet_b1",
    "densenet121",
    "resnet18",
    "resnet50",
    "swin_t",
    "convnext_tiny",
    "maxvit_t",
    "vit_b_16",
    "convnext_large",
    "vit_l_16",
    "vit_h_14",
)


def seconds(function: Callable[..., object], *args: object) -> float:
    """Return the CPU seconds of a call."""
    begin = time.process_time()
    function(*args)
    return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = []
    print("| model | million parameters | forward | search | search / forward |")
    print("|---|---|---|---|---|")
    for name in options.models or MODELS:
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None).eval()
        images = torch.randn(1, 3, 224, 224)
        size = sum(p.numel() for p in model.parameters())
        forwards, searches = [], []
        with borrowed(model), torch.no_grad():
            model(images)
            for _ in range(2 if size > 2e8 else 10):
                forwards.append(seconds(model, images))
                searches.append(seconds(locate, model, images))
                forwards.append(seconds(model, images))
        ratios.append(min(searches) / min(forwards))
        print(
            f"| {name} | {size / 1e6:.0f} | {min(forwards):.2f} s | {min(searches):.2f} s "
            f"| {ratios[-1]:.1f} |",
            flush=True,
        )
    ratios.sort()
    print(f"median {ratios[len(ratios) // 2]:.1f}, at most {ratios[-1]:.1f}")


if __name__ == "__main__":
    main()
