"""Do maps of trained networks peak where the class stands? And is it told where they don't?

    python benchmarks/minis.py --seeds 0 1 2 --keep weights

Each mini of `tests/minis` is trained to tell the colour of one of 24 cells. For 64 fresh pictures:
the share of Grad-CAM's peaks in the right cell at the layer that is found, at the one that
`method="auto"` takes, and at the best of all its layers; chance is .04. "told" is whether the
callback would warn of the maps at the layer that is found.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lightning_vlmxai.attribution import Target, attribute, locate
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain import Explainer, LiveModel
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.explain.pointing import find_fault
from lightning_vlmxai.tasks import Classification
from minis import MINIS, draw, hit_rate, train
from samples import make_probe


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=list(MINIS))
    parser.add_argument(
        "--keep", type=Path, help="folder of trained weights, made if it isn't there"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| mini, seed | accuracy | found | share | auto | share | best of all | share | told |")
    print("|---|---:|---|---:|---|---:|---|---:|---|", flush=True)
    found, taken, best, silent = [], [], [], 0
    for seed in args.seeds:
        for name in args.only:
            row = measure(name, _trained(name, seed, args.keep), seed)
            found.append(row[0])
            taken.append(row[1])
            best.append(row[2])
            silent += row[0] < 0.3 and not row[3]
    near = [
        sum(b - s <= 0.1 for s, b in zip(shares, best, strict=True)) for shares in (found, taken)
    ]
    print(
        f"\nmedian {median(found):.2f} at the layer that is found, {median(taken):.2f} by auto; "
        f"within .1 of the best layer {near[0]} and {near[1]} of {len(found)}; below .3 without a "
        f"warning: {silent}"
    )


def measure(name: str, model: nn.Module, seed: int) -> tuple[float, float, float, bool]:
    """Print a row; return the shares found, by auto and at best, and whether it is told."""
    images, classes, cells = draw(64, seed=77)
    probes = [make_probe(i, image, int(classes[i])) for i, image in enumerate(images)]
    with torch.no_grad():
        accuracy = float((model(images).argmax(dim=1) == classes).float().mean())
    live = LiveModel(model)
    explainer = Explainer().settle(live, probes)
    explained = explainer(live, probes)
    told = find_fault(explainer, live, list(zip(probes, explained, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto = Explainer(method="auto").settle(live, probes)
    shares = {}
    with borrowed(model):
        for layer, _ in model.named_modules():
            try:
                target = locate(model, images[:1], layer) if layer else None
            except AttributionError:
                continue
            if target is not None:
                shares[layer] = _share(model, target, images, cells)
    best = max(shares, key=lambda layer: shares[layer])
    by_auto = hit_rate(torch.stack([e.saliency for e in auto(live, probes)]), cells)
    here = hit_rate(torch.stack([e.saliency for e in explained]), cells)
    print(
        f"| {name}, {seed} | {accuracy:.2f} | {explainer.target_layer} | {here:.2f} | "
        f"{auto.target_layer or auto.method} | {by_auto:.2f} | {best} | {shares[best]:.2f} | "
        f"{'yes' if told else ''} |",
        flush=True,
    )
    return here, by_auto, shares[best], bool(told)


def _share(model: nn.Module, target: Target, images: Tensor, cells: Tensor) -> float:
    subject = target.subject(model, images, Classification())
    try:
        return hit_rate(attribute(subject).raw, cells)
    except AttributionError:
        return 0.0


def _trained(name: str, seed: int, folder: Path | None) -> nn.Module:
    file = None if folder is None else folder / f"{name}-{seed}.pt"
    if file is not None and file.exists():
        model = MINIS[name]()
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    model = train(name, seed)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    return model


if __name__ == "__main__":
    main()
