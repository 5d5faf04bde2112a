"""Time and memory of every attribution method, beside a bare forward and pytorch-grad-cam.

`python benchmarks/attribution.py [--quick] [--models resnet18 ...] [--repeats 3]` prints a
Markdown table. Runs of all contestants alternate, and medians are quoted; only ratios within one
run mean anything. With a CUDA device the batches are 16 and 256, in float32 and bfloat16.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, SemanticSegmentationTarget
from torch import Tensor, nn

from lightning_vlmxai.attribution import (
    Subject,
    attribute,
    find_target_layer,
    fold,
    normalize_saliency,
    resolve_target_layer,
)
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Segmentation, logits_of

MODELS = {
    "resnet18": 224,
    "convnext_tiny": 224,
    "maxvit_t": 224,
    "efficientnet_b1": 240,
    "vit_b_16": 224,
    "swin_t": 224,
    "deeplabv3_resnet50": 224,
}
PEERS: dict[str, Any] = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "eigencam": pytorch_grad_cam.EigenCAM,
}


class _LogitsOnly(nn.Module):
    """pytorch-grad-cam wants a bare tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.model(images)).float()


def build(name: str, device: str) -> nn.Module:
    """Return an untrained model whose logits aren't degenerate, in eval mode."""
    torch.manual_seed(0)
    dense = name.startswith("deeplab")
    model = torchvision.models.get_model(
        name, weights=None, **({"weights_backbone": None} if dense else {})
    )
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if heads and not dense:
        nn.init.normal_(heads[-1].weight, std=1.0)
    return model.eval().to(device)


def peak_of(run: Callable[[], Any], device: str) -> float:
    """Return the peak memory of a run above what was held before, in MiB."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free but kept would hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark (Linux)
    before = _status("VmRSS")
    run()
    return max(_status("VmHWM") - before, 1) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def timed(run: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Return the seconds that a run took, and what it returned."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def contest(
    name: str, batch: int, side: int, device: str, dtype: torch.dtype, repeats: int
) -> list[str]:
    """Return the table rows of one model."""
    model = build(name, device)
    images = torch.randn(batch, 3, side, side, device=device)
    dense = name.startswith("deeplab")
    task = Segmentation() if dense else Classification()

    def context() -> AbstractContextManager[Any]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype=dtype)

    with borrowed(model), context():
        layer = resolve_target_layer(model, find_target_layer(model, images[:1]))
        prediction = task.predict(model(images))
    classes = prediction.classes.tolist()
    if prediction.class_maps is not None:
        targets = [
            SemanticSegmentationTarget(k, (class_map == k).cpu().numpy())
            for k, class_map in zip(classes, prediction.class_maps, strict=True)
        ]
    else:
        targets = [ClassifierOutputTarget(k) for k in classes]
    wrapped = _LogitsOnly(model)

    def bare() -> Tensor:
        with torch.no_grad(), context():
            return logits_of(model(images))

    def ours(method: str) -> Tensor:
        subject = Subject(module=model, layer=layer, inputs=images, task=task)
        with borrowed(model), context():
            return normalize_saliency(attribute(subject, method).raw, size=(side, side)).cpu()

    def peer(method: str) -> Tensor:
        def reshape(features: Tensor) -> Tensor:
            return fold(features, picture_size=(side, side)).float()

        with context(), PEERS[method](wrapped, [layer], reshape_transform=reshape) as cam:
            return torch.from_numpy(cam(images, targets))

    methods = [*PEERS]
    if name in ("resnet18", "efficientnet_b1"):
        methods.insert(0, "cam")
    times: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, float] = {}
    gaps: dict[str, str] = {}
    bare()
    for repeat in range(repeats):
        for method in methods:
            times["bare"].append(timed(bare, device)[0])
            seconds, found = timed(lambda m=method: ours(m), device)  # type: ignore[misc]
            times[f"our {method}"].append(seconds)
            # The peer is the slow one: two of its runs do for a median.
            if method in PEERS and repeat < min(repeats, 2):
                seconds, expected = timed(lambda m=method: peer(m), device)  # type: ignore[misc]
                times[f"peer {method}"].append(seconds)
                gap = (found - expected).abs()
                if method == "eigencam":  # the peer's sign is LAPACK's: like pictures only
                    gap = gap[gap.amax(dim=(1, 2)) < 0.5]
                gaps[method] = f"{float(gap.amax()):.0e}" if len(gap) else "sign"
    peaks["bare"] = peak_of(bare, device)
    rows = []
    for method in methods:
        mine = median(times[f"our {method}"])
        peak = peak_of(lambda m=method: ours(m), device)  # type: ignore[misc]
        cells = [f"{mine / median(times['bare']):.2f}"]
        if method in PEERS:
            theirs = median(times[f"peer {method}"])
            other = peak_of(lambda m=method: peer(m), device)  # type: ignore[misc]
            cells += [f"{theirs / mine:.1f}", f"{peak / peaks['bare']:.1f}"]
            cells += [f"{peak / other:.2f}", gaps[method]]
        else:
            cells += ["-", f"{peak / peaks['bare']:.1f}", "-", "-"]
        label = f"{name} ({batch}, {str(dtype).removeprefix('torch.')})"
        rows.append(f"| {label} | {method} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="batches of 4 (2), two repeats")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batch", type=int, help="images a batch; a quarter for segmentation")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    repeats = 2 if arguments.quick else arguments.repeats
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores"
    load = os.getloadavg()[0]
    print(f"{machine}, torch {torch.__version__}, load average {load:.1f} at the start\n")
    print(
        "| model (batch, dtype) | method | time / bare | peer's time / ours | memory / bare |",
        end="",
    )
    print(" memory / peer's | largest difference |\n|---|---|---|---|---|---|---|")
    for name in arguments.models:
        dense = name.startswith("deeplab")
        batches = [16, 256] if device == "cuda" else [8 if dense else 32]
        if arguments.quick:
            batches = [2 if dense else 4]
        if arguments.batch:
            batches = [max(1, arguments.batch // 4) if dense else arguments.batch]
        dtypes = [torch.float32, torch.bfloat16] if device == "cuda" else [torch.float32]
        for batch in batches:
            for dtype in dtypes:
                contest(name, batch, MODELS[name], device, dtype, repeats)


if __name__ == "__main__":
    main()
