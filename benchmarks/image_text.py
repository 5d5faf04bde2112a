"""Methods for image-text models on a small CLIP: whether maps lie on what a text names.

Run `python benchmarks/image_text.py`. It trains the CLIP of `examples/captioned_digits.py` (or
reads `--weights`, and keeps them there), draws pictures of two digits each, and explains the
similarity to a text that names the one, then to one that names the other. Printed are where maps
peak, the four figures of MMEL, what a batch costs over one bare forward, and, with `--choices`,
what the choices in the reconstruction of MMEL come to.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import captioned_digits as digits
from lightning_vlmxai.attribution import (
    Perturbation,
    Subject,
    attribute,
    find_target_layer,
    locate,
    mmel,
    normalize_saliency,
)
from lightning_vlmxai.attribution.clip import as_map
from lightning_vlmxai.attribution.looking import last_look
from lightning_vlmxai.explain import LiveModel
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Prediction
from lightning_vlmxai.trust import faithfulness

PUBLISHED = {
    "gradcam": ("4.96", "17.84", "", ""),
    "mmel": (".92", "42.13", ".0992", ".2560"),
}
"""Confidence Drop, Increase, deletion (image retrieval), insertion (text retrieval) on MSCOCO."""


@dataclass(frozen=True)
class Named(Classification):
    """The similarity to given captions instead of to the one that comes first."""

    classes: Any = None

    def predict(self, output: Any) -> Prediction:
        """Return the captions that are asked about."""
        logits = output
        chosen = self.classes[:, None]
        return Prediction(
            classes=self.classes,
            confidences=logits.detach().softmax(dim=1).gather(1, chosen)[:, 0],
            scores=logits.gather(1, chosen)[:, 0],
            num_classes=logits.shape[1],
        )


class Similarities(nn.Module):
    """Scaled cosines of pictures with all captions, `[B, K]`."""

    def __init__(self, clip: nn.Module, tokens: Tensor) -> None:
        super().__init__()
        self.visual = clip.visual
        with torch.no_grad():
            texts = clip.encode_text(tokens, normalize=True) * clip.logit_scale.exp()
        self.register_buffer("texts", texts)

    def forward(self, images: Tensor) -> Tensor:
        """Return them."""
        return F.normalize(self.visual(images), dim=1) @ self.texts.T


def draw_pairs(count: int) -> tuple[Tensor, list[str], Tensor]:
    """Return pictures of two digits, two captions each, and the named digits' boxes."""
    images, captions, boxes = [], [], []
    drawn = np.random.default_rng(7)
    data = digits.load_digits()
    inks, labels = data.images[1437:], data.target[1437:]
    while len(images) < count:
        ground = str(drawn.choice(digits.GROUNDS))
        picture = digits.draw_ground(ground, drawn)
        names = []
        for place in digits.draw_places(2, drawn):
            row, colour = int(drawn.integers(len(inks))), str(drawn.choice([*digits.COLOURS]))
            digits.draw_digit(picture, inks[row], digits.COLOURS[colour], place)
            box = torch.zeros(digits.SIDE, digits.SIDE, dtype=torch.bool)
            box[place[0] : place[0] + digits.DIGIT, place[1] : place[1] + digits.DIGIT] = True
            names.append((f"a {colour} {digits.DIGITS[labels[row]]} on a {ground} ground", box))
        if names[0][0] == names[1][0]:
            continue
        images.append((picture - 0.45) / 0.25)
        captions += [name for name, _ in names]
        boxes += [box for _, box in names]
    return torch.stack(images), captions, torch.stack(boxes)


def trained(weights: Path | None, epochs: int) -> nn.Module:
    """Return a trained CLIP."""
    import lightning.pytorch as pl

    pl.seed_everything(0, verbose=False)
    module = digits.CaptionModule()
    if weights is not None and weights.exists():
        module.model.load_state_dict(torch.load(weights, weights_only=True))
        return module.model.eval()
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, accelerator="cpu"
    )
    trainer.fit(module, digits.CaptionData())
    if weights is not None:
        torch.save(module.model.state_dict(), weights)
    return module.model.eval()


def raw_attention(subject: Subject) -> Tensor:
    """Return the last look's attention, the mean over heads, without any gradient."""
    last = last_look(subject, "clip_exact")
    weights, _ = last.look.attend(last.look.read)
    return as_map(weights.mean(dim=1).sum(dim=1), last.layout)


def legrad(subject: Subject) -> Tensor:
    """Return LeGrad of the last four blocks (Bousselham et al., 2024, arXiv 2404.03214).

    The gradient of the score with respect to each attention, by `<g, v>` of its heads' outputs;
    its ReLU's mean over heads and over queries, summed over blocks.
    """
    last = last_look(subject, "clip_exact")
    seen, _ = mmel.looks_of(subject, last, last.prediction, all_queries=True)
    total = torch.zeros(())
    for look, _ in seen:
        size = look.values.shape[2] // look.heads
        slopes = look.gradients.view(*look.gradients.shape[:2], look.heads, size)
        values = look.values.view(*look.values.shape[:2], look.heads, size)
        found = torch.einsum("bqhd,bkhd->bhqk", slopes, values).relu().mean(dim=(1, 2))
        total = total + found
    return as_map(total, last.layout)


def own(method: str) -> Callable[[Subject], Tensor]:
    """Return the maps of one of the package's methods."""
    return lambda subject: attribute(subject, method, perturbation=Perturbation(cells=5)).raw


METHODS: dict[str, Callable[[Subject], Tensor]] = {
    **{name: own(name) for name in ("clip_exact", "gradeclip", "mmel", "gradcam", "occlusion")},
    "LeGrad (ours)": legrad,
    "raw attention": raw_attention,
    "chance": lambda subject: torch.rand(len(subject.images), 8, 8),
}


def explain(model: nn.Module, images: Tensor, classes: Tensor, method: str) -> Tensor:
    """Return normalised maps `[B, 64, 64]` of the similarity to captions."""
    found = []
    for rows in torch.arange(len(images)).split(32):
        with borrowed(model) as lent:
            one = images[rows][:1]
            layer = locate(lent, one) if method == "gradcam" else None
            task = Named(classes=classes[rows])
            subject = (
                Subject(module=lent, layer=lent, inputs=images[rows], task=task)
                if layer is None
                else layer.subject(lent, images[rows], task)
            )
            found.append(normalize_saliency(METHODS[method](subject), size=images.shape[2:]))
    return torch.cat(found)


def points(maps: Tensor, boxes: Tensor) -> tuple[Tensor, float]:
    """Return which maps peak in their box, `[N]`, and how much of what they say lies there."""
    peaks = maps.flatten(1).argmax(dim=1)
    hits = boxes.flatten(1).gather(1, peaks[:, None])[:, 0] & (maps.flatten(1).amax(dim=1) > 0)
    inside = (maps * boxes).flatten(1).sum(dim=1) / maps.flatten(1).sum(dim=1).clamp(min=1e-9)
    return hits.float(), float(inside.mean())


def tell(of_maps: Tensor) -> str:
    """Return the mean of one number a map and its 95 % interval, two maps a picture."""
    of_pictures = of_maps.view(-1, 2).mean(dim=1)
    mean, error = float(of_pictures.mean()), float(of_pictures.std() / len(of_pictures) ** 0.5)
    return f"{mean:.2f} ({mean - 1.96 * error:.2f} to {mean + 1.96 * error:.2f})"


def table_of_peaks(model: nn.Module, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Print where maps peak; return them, two a picture."""
    twice = images.repeat_interleave(2, dim=0)
    classes = torch.arange(len(twice))
    others = boxes.view(-1, 2, *boxes.shape[1:]).flip(1).flatten(0, 1)
    print(
        "| method | peak on the named digit | less clip_exact's | on the other "
        "| share of the map on it | changes |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    kept, first = {}, torch.zeros(len(twice))
    for method in METHODS:
        maps = kept[method] = explain(model, twice, classes, method)
        (hit, inside), (other, _) = points(maps, boxes), points(maps, others)
        pairs = maps.flatten(1).view(-1, 2, maps[0].numel())
        changes = 1 - F.cosine_similarity(pairs[:, 0], pairs[:, 1], dim=1).mean()
        first = hit if method == "clip_exact" else first
        print(
            f"| {method} | {tell(hit)} | {tell(hit - first)} | {float(other.mean()):.2f} "
            f"| {inside:.2f} | {changes:.2f} |",
            flush=True,
        )
    return kept


def table_of_figures(model: nn.Module, images: Tensor, maps: dict[str, Tensor]) -> None:
    """Print MMEL's four figures, in percent for the first two, beside the published ones."""
    twice = images.repeat_interleave(2, dim=0)
    task = Named(classes=torch.arange(len(twice)))
    print("\n| method | Confidence Drop, % | Increase, % | deletion | insertion | published |")
    print("|---|---:|---:|---:|---:|---|")
    for method, found in maps.items():
        figures: dict[str, list[Tensor]] = {}
        for rows in torch.arange(len(twice)).split(16):
            part = Named(classes=task.classes[rows])
            for name, values in faithfulness(
                LiveModel(model),
                twice[rows],
                found[rows],
                part,
                figures=("average_drop", "increase", "deletion", "insertion"),
                steps=10,
            ).items():
                figures.setdefault(name, []).append(values)
        drop, increase, deletion, insertion = (
            float(torch.cat(figures[name]).nanmean())
            for name in ("average_drop", "increase", "deletion", "insertion")
        )
        told = ", ".join(one or "-" for one in PUBLISHED.get(method, ()))
        print(
            f"| {method} | {100 * drop:.1f} | {100 * increase:.1f} | {deletion:.3f} | "
            f"{insertion:.3f} | {told} |",
            flush=True,
        )


def table_of_times(side: int, turns: int) -> None:
    """Print what a batch costs over one bare forward of ViT-B/32, random weights."""
    import open_clip

    vision = open_clip.model.CLIPVisionCfg(layers=12, width=768, patch_size=32, image_size=side)
    clip = open_clip.model.CLIP(512, vision, digits.CLIPTextCfg(layers=1)).eval()
    model = Similarities(clip, torch.randint(1, 100, (8, 77)))
    images = torch.randn(8, 3, side, side)
    task = Named(classes=torch.arange(8))
    print(f"\nViT-B/32, {side} px, 8 pictures a batch\n")
    print("| method | over one bare forward | forwards |")
    print("|---|---:|---:|")
    for method in ("clip_exact", "gradeclip", "mmel", "gradcam"):
        ratios = []
        with borrowed(model) as lent:
            layer = find_target_layer(lent, images[:1]) if method == "gradcam" else ""
            target = lent.get_submodule(layer)
            subject = Subject(module=lent, layer=target, inputs=images, task=task)
            METHODS[method](subject)  # finds the attention, once a model
            calls: Counter[str] = Counter()
            handle = lent.visual.register_forward_hook(lambda *_: calls.update(["visual"]))  # noqa: B023
            METHODS[method](subject)
            handle.remove()
            for _ in range(turns):
                start = time.process_time()
                with torch.no_grad():
                    lent(images)
                middle = time.process_time()
                METHODS[method](subject)
                ratios.append((time.process_time() - middle) / (middle - start))
        print(f"| {method} | {statistics.median(ratios):.2f} | {calls['visual']} |", flush=True)


def table_of_choices(model: nn.Module, images: Tensor, boxes: Tensor) -> None:
    """Print what the choices in the reconstruction of MMEL come to, one changed at a time."""
    twice = images.repeat_interleave(2, dim=0)
    classes = torch.arange(len(twice))
    others: dict[str, dict[str, Any]] = {
        "as chosen": {},
        "the last block alone": {"blocks": 1},
        "two blocks": {"blocks": 2},
        "blocks weighted alike": {"by_alignment": False},
        "one size": {"windows": ()},
        "windows weighted alike": {"by_confidence": False},
        "all queries": {"all_queries": True},
    }
    print("\n| MMEL's reconstruction | peak on the named digit | share of the map on it |")
    print("|---|---:|---:|")
    for name, change in others.items():
        METHODS["choice"] = lambda subject, change=change: mmel.reconstruct(subject, **change).raw
        hit, inside = points(explain(model, twice, classes, "choice"), boxes)
        print(f"| {name} | {tell(hit)} | {inside:.2f} |", flush=True)
    del METHODS["choice"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="where the trained CLIP is kept")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=128, help="of two digits each")
    parser.add_argument("--turns", type=int, default=5, help="of the times; 0 leaves them out")
    parser.add_argument("--choices", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    print(f"{platform.platform()}, torch {torch.__version__}; load {load:.1f}\n")
    clip = trained(arguments.weights, arguments.epochs)
    images, captions, boxes = draw_pairs(arguments.pictures)
    model = Similarities(clip, digits.tokenize(captions)).eval()
    with torch.no_grad():
        logits = model(images)
    own_two = logits.view(len(images), -1, 2)[torch.arange(len(images)), torch.arange(len(images))]
    first = logits.argmax(dim=1).div(2, rounding_mode="floor") == torch.arange(len(images))
    print(
        f"{len(images)} pictures of two digits, {len(captions)} captions: one of its own two comes "
        f"first for {float(first.float().mean()):.2f}; cosines of the two "
        f"{float((own_two / clip.logit_scale.exp()).mean().detach()):.2f}\n"
    )
    maps = table_of_peaks(model, images, boxes)
    table_of_figures(model, images, {name: maps[name] for name in maps})
    if arguments.choices:
        table_of_choices(model, images, boxes)
    if arguments.turns:
        table_of_times(224, arguments.turns)


if __name__ == "__main__":
    main()
