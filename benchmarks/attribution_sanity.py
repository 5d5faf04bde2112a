"""Do the methods find the object? Pointing game and energy on real photos, against chance.

`python benchmarks/attribution_sanity.py [--photos 24]` prints a Markdown table for MobileNetV2
with trained weights. It needs photos with masks: the folder that `VLMXAI_TEST_DATA` names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
import real_data
from lightning_vlmxai.attribution import (
    METHODS,
    OF_ATTENTION,
    Perturbation,
    Subject,
    attribute,
    find_target_layer,
    normalize_saliency,
    resolve_target_layer,
)
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification

SIDE = 224
METHODS_HERE = [name for name in METHODS if name not in OF_ATTENTION]
"""The networks here are convolutional."""


def pets(count: int) -> tuple[Tensor, Tensor]:
    """Return photos of cats and dogs, and where the pet is."""
    root = real_data.ROOT / "pets" / "oxford-iiit-pet"
    photos, masks = [], []
    for trimap in sorted((root / "annotations" / "trimaps").glob("[!.]*.png")):
        photo = root / "images" / f"{trimap.stem}.jpg"
        mask = real_data.read_labels(trimap, SIDE) == 1
        if photo.exists() and len(photos) < count:
            photos.append(real_data.normalized(real_data.read_pixels(photo, SIDE)))
            masks.append(mask)
    return torch.stack(photos), torch.stack(masks)


def coco(count: int) -> tuple[Tensor, Tensor]:
    """Return photos, and where things (categories up to 90) are, on 5 to 60 % of the picture."""
    photos, masks = [], []
    for file in sorted((real_data.ROOT / "coco" / "semantic").glob("*.png")):
        labels = real_data.read_labels(file, SIDE)
        mask = (labels > 0) & (labels <= 90)
        if 0.05 <= float(mask.float().mean()) <= 0.6 and len(photos) < count:
            photo = real_data.ROOT / "coco" / "images" / f"{file.stem}.jpg"
            photos.append(real_data.normalized(real_data.read_pixels(photo, SIDE)))
            masks.append(mask)
    return torch.stack(photos), torch.stack(masks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=24, help="of each data set, at most")
    parser.add_argument("--masks", type=int, default=300, help="of RISE")
    parser.add_argument("--channels", type=int, default=64, help="of Score-CAM and Ablation-CAM")
    parser.add_argument("--methods", nargs="*", default=METHODS_HERE, choices=METHODS_HERE)
    parser.add_argument("--data", nargs="*", default=["pets", "coco"], choices=["pets", "coco"])
    arguments = parser.parse_args()
    if real_data.MISSING:
        raise SystemExit(real_data.MISSING)
    model = real_data.trained_mobilenet()
    options = Perturbation(top_channels=arguments.channels, masks=arguments.masks)
    print("| data | method | pointing game | energy inside | area of the mask (chance) |")
    print("|---|---|---|---|---|")
    for name in arguments.data:
        photos, masks = {"pets": pets, "coco": coco}[name](arguments.photos)
        area = masks.float().mean()
        for method in arguments.methods:
            maps = []
            for batch in photos.split(8):
                with borrowed(model):
                    layer = resolve_target_layer(model, find_target_layer(model, batch[:1]))
                    subject = Subject(
                        module=model, layer=layer, inputs=batch, task=Classification()
                    )
                    raw = attribute(subject, method, perturbation=options).raw
                maps.append(normalize_saliency(raw, size=(SIDE, SIDE)))
            saliency = torch.cat(maps)
            peaks = saliency.flatten(1).argmax(dim=1)
            hits = masks.flatten(1).gather(1, peaks[:, None]).float().mean()
            energy = ((saliency * masks).sum(dim=(1, 2)) / saliency.sum(dim=(1, 2))).mean()
            row = f"{name} ({len(photos)}) | {method} | {hits:.2f} | {energy:.2f} | {area:.2f}"
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
