"""Do the methods of `vlmxai labels` find labels that were exchanged? On real photos.

`python benchmarks/labels.py [--seeds 10] [--folds-seeds 3] [--only imagenet]` prints Markdown
tables. It needs photos and trained weights: the folder that `VLMXAI_TEST_DATA` names. Photos are
explained by Grad-CAM and judged by the reference judge where there is a mask; each case is a run
folder in the form of an audit's, read as `vlmxai labels` reads it.

- ImageNet: 250 photos, one a class; masks are the foreground that DeepLabv3 finds, as those of the
  pets were made, where it is 5 to 90 % of the photo. Exchanged: two photos of other classes swap
  their labels. Confusable: the label becomes what the other model holds most likely beside the
  truth. Relabelled: all labels are SqueezeNet's predictions, right or wrong.
- Pets: MobileNetV2's features with a linear head that is trained on the exchanged labels, in five
  parts, each explained and judged by the head that was trained on the others.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.datasets import OxfordIIITPet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "paper"))
import real_data
from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, LiveModel, make_request
from lightning_vlmxai.judges import ReferenceMaskJudge
from lightning_vlmxai.records import Probe
from lightning_vlmxai.report import METHOD_NAMES, read_labelled
from lightning_vlmxai.trust import CLEANLAB, Suspects
from tables56_labels import exchange

SIDE, BATCH, FOLDS = 224, 16, 5
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """What a model says of photos, `[N, K]`, and the score of each, NaN where there is none."""

    probabilities: NDArray[np.float32]
    scores: NDArray[np.float64]

    @property
    def predictions(self) -> Labels:
        """The most probable class, `[N]`."""
        return self.probabilities.argmax(axis=1)


def explain(
    model: nn.Module, photos: Sequence[Tensor], masks: Sequence[Tensor | None], layer: str
) -> Judged:
    """Return what a model says of photos, with the reference judge's scores of its explanations."""
    probes = [
        Probe(index=i, call=Call.of_images(real_data.normalized(photo)[None]), pixels=photo,
              target=torch.tensor(0), reference_mask=mask)
        for i, (photo, mask) in enumerate(zip(photos, masks, strict=True))
    ]  # fmt: skip
    explained = Explainer(target_layer=layer, batch_size=BATCH)(LiveModel(model), probes)
    judge, scores = ReferenceMaskJudge(), []
    for one in explained:
        verdict = None if one.is_blank else asyncio.run(judge.judge(make_request(one)))
        scores.append(np.nan if verdict is None or verdict.score is None else verdict.score)
    with torch.no_grad():
        batches = [
            model(real_data.normalized(torch.stack(list(photos[i : i + BATCH])))).softmax(dim=1)
            for i in range(0, len(photos), BATCH)
        ]
    said = Judged(torch.cat(batches).numpy(), np.array(scores))
    if [one.prediction for one in explained] != said.predictions.tolist():
        raise RuntimeError("What was explained is not what was predicted.")
    return said


def confuse(labels: Labels, other: Judged, share: float, seed: int) -> Labels:
    """Return labels of which a share is what another model holds most likely beside the truth."""
    chosen = np.random.default_rng(seed).permutation(len(labels))[: round(share * len(labels))]
    probabilities = other.probabilities.copy()
    probabilities[np.arange(len(labels)), labels] = -1
    changed = labels.copy()
    changed[chosen] = probabilities.argmax(axis=1)[chosen]
    return changed


def write_audit(path: Path, labels: Labels, said: Judged) -> Path:
    """Write a run folder in the form of an audit's and return it."""
    settings = {"kind": "audit", "identity": "index", "num_classes": said.probabilities.shape[1]}
    (path / "run.json").write_text(json.dumps(settings | {"threshold": 2.5}))
    said.probabilities.astype("<f4").tofile(path / "probabilities.f32")
    lines = []
    for i, (label, prediction) in enumerate(zip(labels, said.predictions, strict=True)):
        score = None if np.isnan(said.scores[i]) else float(said.scores[i])
        lines.append({
            "stage": "test", "round": 0, "probe": i, "row": i, "label": int(label),
            "label_name": str(label), "prediction": int(prediction),
            "prediction_name": str(prediction), "is_correct": bool(label == prediction),
            "confidence": float(said.probabilities[i, prediction]), "score": score,
            "reason": "no_reference_mask" if score is None else None,
        })  # fmt: skip
    (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def figures(wrong: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> list[float]:
    """Return accuracy, precision, recall and F1, positive = the label is fine."""
    fine = ~flagged & ~wrong
    precision, recall = fine.sum() / max(1, (~flagged).sum()), fine.sum() / (~wrong).sum()
    return [float((flagged == wrong).mean()), precision, recall,
            2 * precision * recall / max(1e-9, precision + recall)]  # fmt: skip


def measure(wrong: NDArray[np.bool_], of: Suspects, effort: int) -> list[float]:
    """Return a row: by the method's own flags, then by as many of its order as all are given."""
    order = np.argsort(of.ranks)
    hits = wrong[order].cumsum()
    precision = float((hits / np.arange(1, len(hits) + 1))[wrong[order]].mean())
    found = hits[wrong.sum() - 1] / wrong.sum()
    return [of.flagged.sum(), *figures(wrong, of.flagged), *figures(wrong, of.ranks <= effort),
            found, precision]  # fmt: skip


def table(name: str, true: Labels, cases: Sequence[tuple[Labels, Judged]]) -> None:
    """Print the mean figures over cases, with the standard error of the last one."""
    rows: dict[str, list[list[float]]] = {}
    judged: list[float] = []
    for labels, said in cases:
        with tempfile.TemporaryDirectory() as folder:
            read = read_labelled(write_audit(Path(folder), labels, said))
            found = read.ask(min_per_class=1)
        effort = int(found[CLEANLAB[0]].flagged.sum())
        judged.append(np.mean([s.score is not None for s in read.samples]))
        for method, of in found.items():
            rows.setdefault(method, []).append(measure(labels != true, of, effort))
    wrong = np.mean([(labels != true).sum() for labels, _ in cases])
    right = np.mean([(said.predictions == true).mean() for _, said in cases])
    print(f"\n{name}: {len(true)} samples, {wrong:.0f} labels wrong, model right in {right:.0%}, "
          f"{np.mean(judged):.0%} judged, {len(cases)} draws\n")  # fmt: skip
    print("| method | flags | acc | P | R | F1 | acc | P | R | F1 | found in W | AP |")
    print("|---|---:|" + "---:|" * 10)
    for method, each in rows.items():
        mean = np.mean(each, axis=0)
        error = np.std([row[-1] for row in each], ddof=1) / len(each) ** 0.5 if each[1:] else None
        cells = [f"{mean[0]:.1f}", *(f"{value:.3f}" for value in mean[1:])]
        tail = "" if error is None else f" ± {error:.3f}"
        print(f"| {METHOD_NAMES[method]} | {' | '.join(cells)}{tail} |", flush=True)


def imagenet(seeds: int) -> None:
    """Print the tables of the photos of 250 classes."""
    with (real_data.ROOT / "imagenet" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    files = [real_data.ROOT / "imagenet" / "images" / row["file"] for row in rows]
    photos = [real_data.read_pixels(file, SIDE) for file in files]
    true = np.array([int(row["imagenet_index"]) for row in rows])
    deeplab, masks = real_data.trained_deeplab(), []
    for file in files:
        with torch.no_grad():
            found = deeplab(real_data.normalized(real_data.read_pixels(file, 385))[None])["out"]
        mask = F.interpolate((found.argmax(dim=1, keepdim=True) > 0).float(), (SIDE, SIDE))[0, 0]
        masks.append(mask.bool() if 0.05 <= float(mask.mean()) <= 0.9 else None)
    mobile = explain(real_data.trained_mobilenet(), photos, masks, "features.18")
    squeeze = explain(real_data.trained_squeezenet(), photos, masks, "features.12")
    models = {"MobileNetV2": (mobile, squeeze), "SqueezeNet": (squeeze, mobile)}
    for share in (0.1, 0.2):
        for name, (said, _) in models.items():
            cases = [(exchange(true, share, seed), said) for seed in range(seeds)]
            table(f"**ImageNet, {name}, {share:.0%} exchanged**", true, cases)
        for name, (said, other) in models.items():
            cases = [(confuse(true, other, share, seed), said) for seed in range(seeds)]
            table(f"**ImageNet, {name}, {share:.0%} confusable**", true, cases)
    relabelled = [(squeeze.predictions, mobile)]
    table("**ImageNet, MobileNetV2, relabelled by SqueezeNet**", true, relabelled)


class Pet(nn.Module):
    """MobileNetV2's features and a linear head."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, K]`."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def fit_head(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """Return a linear head trained on features `[N, D]`."""
    head = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(features), labels) + 1e-3 * head.weight.pow(2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return head


def pets(seeds: int) -> None:
    """Print the tables of the cats and dogs, by kind and by breed."""
    kinds = ("binary-category", "category", "segmentation")
    photos, masks, labels = [], [], []
    for split in ("trainval", "test"):
        data = OxfordIIITPet(real_data.ROOT / "pets", split=split, target_types=kinds)
        for image, of, (_, (kind, breed, _)) in zip(data._images, data._segs, data, strict=True):
            photos.append(real_data.read_pixels(image, SIDE))
            masks.append(real_data.read_labels(of, SIDE) != 2)
            labels.append((kind, breed))
    backbone = real_data.trained_mobilenet().features
    with torch.no_grad():
        batches = [real_data.normalized(torch.stack(photos[i : i + BATCH]))
                   for i in range(0, len(photos), BATCH)]  # fmt: skip
        features = torch.cat([backbone(batch).mean(dim=(2, 3)) for batch in batches])
    for column, name in ((0, "cat or dog"), (1, "breed")):
        true = np.array([pair[column] for pair in labels])
        classes = int(true.max()) + 1
        for share in (0.1, 0.2):
            cases = []
            for seed in range(seeds):
                given = exchange(true, share, seed)
                part = np.random.default_rng(100 + seed).permutation(len(true)) % FOLDS
                p = np.zeros((len(true), classes), dtype=np.float32)
                scores = np.full(len(true), np.nan)
                for fold in range(FOLDS):
                    own = np.flatnonzero(part == fold)
                    rest = part != fold
                    head = fit_head(features[rest], torch.tensor(given[rest]), classes)
                    said = explain(Pet(backbone, head).eval(), [photos[i] for i in own],
                                   [masks[i] for i in own], "features.18")  # fmt: skip
                    p[own], scores[own] = said.probabilities, said.scores
                cases.append((given, Judged(p, scores)))
            table(f"**Pets, {name}, {share:.0%} exchanged**", true, cases)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="draws of ImageNet's labels")
    parser.add_argument("--folds-seeds", type=int, default=3, help="draws of the pets' labels")
    parser.add_argument("--only", choices=["imagenet", "pets"], help="one of the two")
    given = parser.parse_args()
    if real_data.MISSING:
        sys.exit(real_data.MISSING)
    torch.set_num_threads(1)
    print(
        "Accuracy, precision, recall and F1 with positive = the label is fine: first by what each "
        "method flags itself, then by the first n of its order, n = what confident learning "
        "flags. W: as many are looked at as labels are wrong. AP: average precision of the order."
    )
    if given.only != "pets":
        imagenet(given.seeds)
    if given.only != "imagenet":
        pets(given.folds_seeds)


if __name__ == "__main__":
    main()
