"""Score-CAM and Ablation-CAM with all channels of one picture, beside pytorch-grad-cam.

`python benchmarks/channels.py [--repeats 2] [--side 224]` prints a Markdown table: seconds of
CPU on one thread (medians of runs in turns), how many channels are zero for the picture, the
largest difference of the maps, and the peak of the memory beyond what was held before. Trained
networks and a photograph come from the folder that `VLMXAI_TEST_DATA` names; ResNet18 is untrained.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median

import pytorch_grad_cam
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
from attribution import build, peak_of

import real_data
from lightning_vlmxai.attribution import (
    Perturbation,
    Subject,
    attribute,
    find_target_layer,
    normalize_saliency,
    resolve_target_layer,
)
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification

PEERS = {"scorecam": pytorch_grad_cam.ScoreCAM, "ablationcam": pytorch_grad_cam.AblationCAM}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2, trained": real_data.trained_mobilenet,
    "SqueezeNet, trained": real_data.trained_squeezenet,
    "ResNet18, untrained": lambda: build("resnet18", "cpu"),
}


def contest(network: str, method: str, image: Tensor, repeats: int) -> str:
    """Return a table row: all channels of one picture, `[1, 3, H, W]`."""
    model = NETWORKS[network]().eval()
    side = image.shape[-1]
    with borrowed(model):
        name = find_target_layer(model, image)
    layer = resolve_target_layer(model, name)
    subject = Subject(module=model, layer=layer, inputs=image, task=Classification())
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    with torch.no_grad():
        model(image)
    handle.remove()
    used = seen[0][0].flatten(1).abs().amax(dim=1) > 0

    def ours() -> Tensor:
        with borrowed(model):
            found = attribute(subject, method, perturbation=Perturbation())
        return normalize_saliency(found.raw, size=(side, side)).cpu()

    def peer() -> Tensor:
        with (
            Path(os.devnull).open("w") as nowhere,
            redirect_stderr(nowhere),
            PEERS[method](model, [layer]) as cam,
        ):
            return torch.from_numpy(cam(image, None))

    mine, theirs = [], []
    for _ in range(repeats):
        start = time.process_time()
        found = ours()
        mine.append(time.process_time() - start)
        start = time.process_time()
        expected = peer()
        theirs.append(time.process_time() - start)
    gap = float((found - expected).abs().amax())
    memory = peak_of(ours, "cpu") / peak_of(peer, "cpu")
    return (
        f"| {network} | {method} | {name} | {len(used)} | {int((~used).sum())} | "
        f"{median(mine):.2f} | {median(theirs):.2f} | {median(theirs) / median(mine):.1f} | "
        f"{memory:.2f} | {gap:.0e} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", type=int, default=224, help="of the picture, in pixels")
    arguments = parser.parse_args()
    if real_data.MISSING:
        raise SystemExit(real_data.MISSING)
    torch.set_num_threads(1)
    image = real_data.imagenet_photos(1, arguments.side)[0]
    print(
        f"{os.cpu_count()} CPU cores, torch {torch.__version__}, load average "
        f"{os.getloadavg()[0]:.1f} at the start; one photograph, {arguments.side} px\n\n"
        "| network | method | layer | channels | of these zero | ours, s | peer, s | peer / ours | "
        "memory / peer's | largest difference |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for network in NETWORKS:
        for method in PEERS:
            print(contest(network, method, image, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
