"""Real photos and trained weights, where there are any; users don't have them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, squeezenet1_0
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

ROOT = Path(
    os.environ.get("VLMXAI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
MISSING = (
    ""
    if (ROOT / "weights").is_dir()
    else f"no trained weights and photos in {ROOT}; set VLMXAI_TEST_DATA to a folder with them"
)


def normalized(pixels: Tensor) -> Tensor:
    """Return pixels in [0, 1] with ImageNet's mean and standard deviation taken out."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels - mean[:, None, None]) / std[:, None, None]


def read_pixels(path: Path, side: int) -> Tensor:
    """Return a photo as `[3, side, side]` in [0, 1]: its short side is resized, its middle cut."""
    image = Image.open(path).convert("RGB")
    scale = side / min(image.size)
    image = image.resize(
        (max(side, round(image.width * scale)), max(side, round(image.height * scale))),
        Image.Resampling.BILINEAR,
    )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def read_labels(path: Path, side: int) -> Tensor:
    """Return a map of labels, cut as `read_pixels` cuts the photo, `[side, side]` int64."""
    image = Image.open(path)
    scale = side / min(image.size)
    image = image.resize(
        (max(side, round(image.width * scale)), max(side, round(image.height * scale))),
        Image.Resampling.NEAREST,
    )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(image).copy()).long()


def imagenet_photos(count: int, side: int = 224) -> tuple[Tensor, list[int]]:
    """Return the first photos, normalised, and their class numbers."""
    with (ROOT / "imagenet" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:count]
    files = {path.name: path for path in (ROOT / "imagenet").rglob("*.jpg")}
    photos = [normalized(read_pixels(files[Path(row["file"]).name], side)) for row in rows]
    return torch.stack(photos), [int(row["imagenet_index"]) for row in rows]


def coco_photos(count: int, side: int) -> Tensor:
    """Return the first photos, normalised."""
    paths = sorted((ROOT / "coco" / "images").iterdir())[:count]
    return torch.stack([normalized(read_pixels(path, side)) for path in paths])


def _state(name: str) -> dict[str, Tensor]:
    state = torch.load(ROOT / "weights" / name, weights_only=True)
    return {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }


def pad_as_tensorflow(model: nn.Module) -> nn.Module:
    """Give stride-2 convolutions TensorFlow's SAME padding, which the weights were trained with."""

    def pad(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (F.pad(args[0], (0, 1, 0, 1)),)

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(pad)
    return model


def trained_mobilenet() -> nn.Module:
    """Return MobileNetV2 with its ImageNet weights."""
    model = mobilenet_v2()
    model.load_state_dict(_state("mobilenet_v2_coral_tf2_fp16.pth"))
    return pad_as_tensorflow(model).eval()


def trained_squeezenet() -> nn.Module:
    """Return SqueezeNet with its ImageNet weights."""
    model = squeezenet1_0()
    model.load_state_dict(_state("squeezenet1_0_deepcompression_fp16.pth"))
    return model.eval()


def trained_deeplab() -> nn.Module:
    """Return DeepLabv3 on MobileNetV2 with its weights for the classes of VOC."""
    features = mobilenet_v2().features[:18]
    features[14].conv[1][0].stride = (1, 1)
    for block in features[15:18]:
        block.conv[1][0].dilation = block.conv[1][0].padding = (2, 2)
    model = DeepLabV3(
        IntermediateLayerGetter(features, {"17": "out"}), DeepLabHead(320, 21, atrous_rates=())
    )
    model.load_state_dict(_state("deeplabv3_mobilenet_v2_voc21_coral_fp16.pth"))
    return model.eval()


def write_coco_instances(path: Path) -> Path:
    """Write the maps of the COCO photos as COCO's own annotations: a region a class; return it."""
    from pycocotools import mask as coders

    lines = (ROOT / "coco" / "semantic_segmentation_classes.yaml").read_text().splitlines()
    rows = [line.split(":") for line in lines[lines.index("classes:") + 1 :] if ":" in line]
    names = {int(number): name.strip() for number, name in rows if int(number) in range(1, 91)}
    images, annotations = [], []
    for number, file in enumerate(sorted((ROOT / "coco" / "semantic").glob("*.png"))):
        labels = np.asarray(Image.open(file))
        height, width = labels.shape
        name = f"{file.stem}.jpg"
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for category in sorted(set(np.unique(labels).tolist()) & names.keys()):
            mask = np.asfortranarray(labels == category).astype(np.uint8)
            coded = coders.encode(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": {**coded, "counts": coded["counts"].decode()},
                    "area": int(mask.sum()),
                    "bbox": coders.toBbox(coded).tolist(),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in names.items()]
    found = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(found))
    return path
