"""Which layer is found in every model of four zoos, and whether its map lies on the picture.

    python benchmarks/zoo.py torchvision timm transformers smp --out zoo.jsonl

Random weights; batch norms are given the statistics of noise, without which deep networks' signals
fade. Small classifiers are given larger pictures where they take them. *found*: a layer was found;
*finite*: its Grad-CAM map is finite and not constant; *planted*: noise in a corner of the picture
moves the layer's map most in that quarter, counted over the four corners. Beside it the same for
torchcam's automatic layer, where torchcam is installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from lightning_vlmxai.attribution import Place, Subject, attribute, locate
from lightning_vlmxai.attribution.hooks import changed, named_layers
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Segmentation, logits_of

Model = tuple[str, Callable[[], nn.Module], tuple[int, int]]
"""Name, how it is made, and the size of its pictures."""

SIZE = (192, 256)
LARGE = (320, 448)
_HEAVY = 70e6
"""From so many parameters on classifiers' pictures have the first size, below the second."""

_LAYERS = 4
_SMALL = (
    "test_",
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "tiny",
    "xs",
    "mini",
    "small",
    "18",
    "b0",
    "s",
)


def torchvision_models() -> Iterator[Model]:
    """Yield torchvision's classifiers and dense models."""
    fixed = ("vit_", "maxvit")
    for name in torchvision.models.list_models():
        if name.startswith(("fasterrcnn", "maskrcnn", "retinanet", "ssd", "fcos", "keypoint")):
            continue
        if name.startswith(
            ("raft", "quantized", "mc3", "r3d", "r2plus1d", "s3d", "mvit", "swin3d")
        ):
            continue
        is_dense = name in torchvision.models.list_models(module=torchvision.models.segmentation)
        options = {"weights_backbone": None} if is_dense else {}
        if name in ("googlenet", "inception_v3"):
            options = {"init_weights": False}
        size = (224, 224) if name.startswith(fixed) else SIZE
        if name.startswith("inception"):
            size = (299, 363)
        yield (
            name,
            lambda name=name, options=options: torchvision.models.get_model(
                name, weights=None, **options
            ),
            size,
        )


def timm_models() -> Iterator[Model]:
    """Yield one small model of each of timm's modules."""
    import timm

    for module in timm.list_modules():
        names = timm.list_models(module=module)
        names = [name for name in names if not name.startswith("test_")] or names
        if not names:
            continue

        def weight(name: str) -> tuple[int, int]:
            return (next((i for i, part in enumerate(_SMALL) if part in name), 99), len(name))

        name = min(names, key=weight)
        cfg = timm.get_pretrained_cfg(name)
        size = tuple(cfg.input_size[1:]) if cfg is not None else (224, 224)

        def make(name: str = name) -> nn.Module:
            model: nn.Module = timm.create_model(name, pretrained=False)
            return model

        free = cfg is not None and not cfg.fixed_input_size
        yield f"{module}/{name}", make, (SIZE if free and min(size) <= 256 else size)


def transformers_models() -> Iterator[Model]:
    """Yield transformers' picture classifiers, deep ones with four layers."""
    import transformers
    from transformers.models.auto import modeling_auto

    names = {**modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES}
    for kind, classes in names.items():
        for name in (classes,) if isinstance(classes, str) else classes[:1]:

            def make(name: str = name) -> nn.Module:
                cls = getattr(transformers, name)
                config = cls.config_class()
                config.num_labels = 10
                config.return_dict = True
                if getattr(config, "num_hidden_layers", 0) in (12, 24):
                    config.num_hidden_layers = _LAYERS
                if hasattr(config, "initializer_range") and config.initializer_range < 0.02:
                    config.initializer_range = 0.02
                model: nn.Module = cls(config)
                return model

            cls = getattr(transformers, name, None)
            if cls is None:
                continue
            side = getattr(cls.config_class(), "image_size", 224)
            side = side if isinstance(side, int) else side[0]
            yield f"{kind}/{name}", make, (side, side)


def smp_models() -> Iterator[Model]:
    """Yield segmentation_models_pytorch's decoders over two encoders."""
    import segmentation_models_pytorch as smp

    for arch in sorted(smp.MODEL_ARCHITECTURES_MAPPING):
        encoders = ("tu-vit_tiny_patch16_224",) if arch == "dpt" else ("resnet18", "mobilenet_v2")
        for encoder in encoders:

            def make(arch: str = arch, encoder: str = encoder) -> nn.Module:
                model: nn.Module = smp.create_model(arch, encoder, encoder_weights=None, classes=5)
                return model

            yield f"{arch}/{encoder}", make, (192, 256) if arch != "dpt" else (224, 224)


ZOOS = {
    "torchvision": torchvision_models,
    "timm": timm_models,
    "transformers": transformers_models,
    "smp": smp_models,
}


def corners_hit(
    module: nn.Module,
    layer: nn.Module,
    size: tuple[int, int],
    read: Callable[[Tensor], Tensor],
    place: Place | None = None,
) -> int:
    """Return at how many of four corners the map moves most in the quarter that was changed."""
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(3))
    seen: list[Tensor] = []
    hits = 0

    def look_at(pictures: Tensor) -> None:
        # A copy: what works in place behind the layer would change what was seen.
        with torch.no_grad(), changed(layer, lambda t: seen.append(t.clone()), place):
            module(pictures)

    look_at(images)
    for down in (0, 1):
        for right in (0, 1):
            look_at(_planted(images, down, right, seed=down * 2 + right))
            moved = (read(seen[-1]) - read(seen[0])).abs().sum(dim=1)[0]
            row, column = divmod(int(moved.argmax()), moved.shape[1])
            middle = (moved.shape[0] - 1) / 2, (moved.shape[1] - 1) / 2
            hits += (row >= middle[0] if down else row <= middle[0]) and (
                column >= middle[1] if right else column <= middle[1]
            )
    return int(hits)


def _planted(images: Tensor, down: int, right: int, seed: int) -> Tensor:
    """Return pictures with a corner, a sixteenth of each, of three times louder noise."""
    height, width = images.shape[2:]
    tall, wide = height // 4, width // 4
    top, left = down * (height - tall), right * (width - wide)
    noise = torch.randn(len(images), 3, tall, wide, generator=torch.Generator().manual_seed(seed))
    changed_ones = images.clone()
    changed_ones[..., top : top + tall, left : left + wide] = 3 * noise
    return changed_ones


def _calibrate(model: nn.Module, size: tuple[int, int]) -> None:
    """Give batch norms the statistics of noise; also the first forward, which is slow.

    Of pictures like those that are shown later, plain and with a loud corner: of plain ones alone
    a norm behind a global pool sees no two that differ, and one in front of a channel's gate
    nothing as loud; either magnifies the first loud corner with each block, without bound.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    plain = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(5))
    corners = [(down, right) for down in (0, 1) for right in (0, 1)]
    loud = [
        _planted(plain[n % 2 : n % 2 + 1], *corner, seed=6 + n) for n, corner in enumerate(corners)
    ]
    with torch.no_grad():
        model(torch.cat([plain, *loud]))
    model.eval()


def torchcam_layer(module: nn.Module, size: tuple[int, int]) -> str | None:
    """Return torchcam's automatic layer; None if it finds none or isn't installed."""
    try:
        from torchcam.methods._utils import locate_candidate_layer
    except ImportError:
        return None
    found: str | None = locate_candidate_layer(module, (3, *size))
    return found


def row_of(
    zoo: str, name: str, make: Callable[[], nn.Module], size: tuple[int, int], most: float = 1e9
) -> dict[str, Any]:
    """Return what is measured of a model."""
    torch.manual_seed(0)
    row: dict[str, Any] = {"zoo": zoo, "name": name, "size": size}
    try:
        model = make().eval()
    except Exception as error:
        return row | {"skipped": f"{type(error).__name__}: {error}"[:200]}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    if row["parameters"] > most:
        return row | {"skipped": "too large"}
    for parameter in model.parameters():
        if not parameter.any():  # fresh heads and scales are often zero
            torch.nn.init.normal_(parameter, std=0.05)
    dense = ("lraspp", "deeplab", "fcn_")
    is_light = row["parameters"] < _HEAVY and zoo != "smp" and not name.startswith(dense)
    options = [LARGE, size] if is_light else [size]
    for size in options:
        row["size"] = size
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        try:
            _calibrate(model, size)
            with torch.no_grad():
                start = time.perf_counter()
                is_dense = logits_of(model(images[:1])).ndim == 4
                forward = time.perf_counter() - start
        except Exception as error:
            row["skipped"] = f"{type(error).__name__}: {error}"[:200]
        else:
            row.pop("skipped", None)
            break
    if "skipped" in row:
        return row
    task = Segmentation() if is_dense else Classification()
    try:
        with borrowed(model):
            start = time.perf_counter()
            target = locate(model, images[:1])
            row["over_forward"] = round((time.perf_counter() - start) / forward, 2)
            assert target.layout is not None  # noqa: S101 - locate gives one
            row |= {
                "layer": target.name,
                "grid": target.layout.grid,
                "start": target.layout.start,
                "ends": target.layout.ends,
                "sure": round(target.sure, 2),
                "doubt": target.doubt,
            }
            subject = Subject(
                module=model,
                layer=target.layer,
                inputs=images,
                task=task,
                layout=target.layout,
                place=target.place,
            )
            raw = attribute(subject).raw
            row["finite"] = bool(raw.isfinite().all()) and bool(raw.std() > 0)
            row["planted"] = corners_hit(
                model, target.layer, size, target.layout.to_map, target.place
            )
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            peer = torchcam_layer(model, size)
            if peer:
                row["torchcam"] = peer
                layer = named_layers(model)[peer]
                row["torchcam_planted"] = corners_hit(model, layer, size, lambda t: t)
        except Exception as error:
            row["torchcam_error"] = f"{type(error).__name__}: {error}"[:100]
    return row


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the table of rates."""
    lines = [
        "| zoo | models | found | finite | planted 4 of 4 | torchcam 4 of 4 | search / forward |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for zoo in dict.fromkeys(row["zoo"] for row in rows):
        own = [row for row in rows if row["zoo"] == zoo and "skipped" not in row]
        found = [row for row in own if "layer" in row]
        large = [row for row in found if min(row["grid"]) >= 4]
        times = sorted(row["over_forward"] for row in found) or [0.0]
        lines.append(
            f"| {zoo} | {len(own)} | {len(found)} | {sum(r.get('finite', False) for r in found)} "
            f"| {sum(r.get('planted') == 4 for r in large)} of {len(large)} "
            f"| {sum(r.get('torchcam_planted') == 4 for r in own)} "
            f"| {times[len(times) // 2]} median, {times[-1]} at most |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zoos", nargs="+", choices=list(ZOOS))
    parser.add_argument("--only", default="")
    parser.add_argument("--most", type=float, default=60.0, help="million parameters")
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = (
        [json.loads(line) for line in options.out.read_text().splitlines()]
        if options.out.exists()
        else []
    )
    done = {(row["zoo"], row["name"]) for row in rows}
    for zoo in options.zoos:
        for name, make, size in ZOOS[zoo]():
            if options.only not in name or (zoo, name) in done:
                continue
            rows.append(row_of(zoo, name, make, size, options.most * 1e6))
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            sys.stdout.flush()
    print(summary(rows))
    for row in rows:
        bad = [key for key in ("skipped", "error") if key in row]
        if bad or row.get("planted", 4) < 4 or row.get("doubt"):
            print(json.dumps(row))


if __name__ == "__main__":
    main()
