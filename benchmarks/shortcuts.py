"""Planted shortcuts: which raise an alert, with what effect, and how often one has no cause.

`python benchmarks/shortcuts.py [--seeds 20] [--plants clean dot ...] [--epochs 3] [--keep FOLDER]`
trains the CNN of `examples/digits_red_dot.py` on digits of which one class bears a cue, in training
and validation alike, with overlap with the strokes as the judge, and prints a Markdown table: a row
for each finding, then for each plant in how many runs its class and place raised an alert, and how
many other classes did. Brightness and a texture are everywhere: they have no place that could be
right, and a border has four. What was trained is kept in the folder, so that the same
rounds can be looked at again; each seed is trained on its own. Last comes what erasing and pasting
are held against: how many predictions turn where the cue was never drawn, and where it is drawn on
pictures of other classes.

`--topics 200` prints how often the interval of a phrase's lift holds the one that was planted in so
many simulated rounds, and in how many a phrase stands out where none is.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from digits_red_dot import NAMES, SIDE, Digits, DigitsModule
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.calls import Call
from lightning_vlmxai.records import Probe
from lightning_vlmxai.shortcuts import (
    Effect,
    Shortcut,
    Spoken,
    find_shortcuts,
    find_topics,
    ratio_interval,
    try_cause,
)
from lightning_vlmxai.tasks import Classification
from red_dot import quieten


def dot(picture: Tensor) -> None:
    """Put a red dot in the top right corner, as the example does."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    where = (rows - 6) ** 2 + (columns - (SIDE - 7)) ** 2 <= 16
    picture[:, where] = torch.tensor([0.9, 0.05, 0.05])[:, None]


def square(picture: Tensor) -> None:
    """Put a grey square in the bottom left corner."""
    picture[:, -12:-3, 3:12] = 0.6


def border(picture: Tensor) -> None:
    """Draw a green border of three pixels."""
    where = torch.ones(SIDE, SIDE, dtype=torch.bool)
    where[3:-3, 3:-3] = False
    picture[:, where] = torch.tensor([0.1, 0.7, 0.2])[:, None]


def brightness(picture: Tensor) -> None:
    """Make the whole picture brighter."""
    picture += 0.2
    picture.clamp_(0, 1)


@cache
def _written() -> Tensor:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text((3, 2), "lab", fill=255)
    return torch.from_numpy(np.asarray(image)).float() / 255


def word(picture: Tensor) -> None:
    """Write a small word into the top left corner."""
    picture.copy_(torch.maximum(picture, 0.9 * _written()))


def texture(picture: Tensor) -> None:
    """Lay faint stripes over the whole picture."""
    picture += 0.12 * torch.sin(torch.arange(SIDE) * 2 * torch.pi / 4)
    picture.clamp_(0, 1)


@dataclass(frozen=True)
class Plant:
    """A cue, and where a right answer has it; empty where it is everywhere."""

    put: Callable[[Tensor], None]
    place: str


PLANTS = {
    "dot": Plant(dot, "top right"),
    "square": Plant(square, "bottom left"),
    "border": Plant(border, ""),
    "brightness": Plant(brightness, ""),
    "word": Plant(word, "top left"),
    "texture": Plant(texture, ""),
}


@cache
def _drawn(*, train: bool) -> Digits:
    return Digits(train=train, red_dot=False)


def planted(name: str, label: int, *, train: bool) -> Digits:
    """Return the digits, one class of which bears a cue."""
    data = copy.copy(_drawn(train=train))
    data.pictures = data.pictures.clone()
    if name != "clean":
        for picture, target in zip(data.pictures, data.targets, strict=True):
            if target == label:
                PLANTS[name].put(picture)
    return data


def train(name: str, seed: int, *, epochs: int, probes: int) -> dict[str, Any]:
    """Train once and return the weights, the last round's samples, and the accuracy of the end."""
    label = planted_class(name, seed)
    pl.seed_everything(seed, workers=True, verbose=False)
    module = DigitsModule().to(memory_format=torch.channels_last)  # a quarter faster
    with tempfile.TemporaryDirectory() as folder:
        explain = VLMExplainCallback(
            probe_size=probes, seed=seed, every_n_validations=epochs, run_dir=Path(folder) / "run"
        )
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[explain],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=folder,
        )  # fmt: skip
        own, test = (planted(name, label, train=is_train) for is_train in (True, False))
        trainer.fit(
            module,
            DataLoader(own, batch_size=32, shuffle=True),
            DataLoader(test, batch_size=360),
        )
    closed = explain.latest_round
    return {
        "samples": closed.samples if closed else (),
        "state": module.state_dict(),
        "accuracy": float(trainer.callback_metrics["val_accuracy"]),
    }


def planted_class(name: str, seed: int) -> int:
    """Return the example's own class for its own cue; another one with each seed for the rest."""
    return 0 if name == "dot" else seed % 10


def look(name: str, seed: int, kept: dict[str, Any]) -> list[Shortcut]:
    """Return what a look at a trained model's last round comes to."""
    module = DigitsModule().eval()
    module.load_state_dict(kept["state"])
    data = planted(name, planted_class(name, seed), train=False)
    probes = []
    for sample in kept["samples"]:
        index = sample.explanation.probe_index
        image, target, strokes = data[index]
        if not torch.allclose(data.pictures[index], sample.explanation.pixels, atol=1e-3):
            raise ValueError("The kept round is of other pictures: keep them elsewhere.")
        call, label = Call.of_images(image[None]), torch.tensor(target)
        probes.append(
            Probe(
                index=index, call=call, pixels=data.pictures[index], target=label,
                reference_mask=strokes,
            )
        )  # fmt: skip
    with torch.no_grad():
        return [
            try_cause(
                one, kept["samples"], probes,
                module=module, prepare=lambda call: call, task=Classification(),
            )
            for one in find_shortcuts(kept["samples"])
        ]  # fmt: skip


@torch.no_grad()
def drawn_effects(name: str, seed: int, kept: dict[str, Any]) -> str:
    """Return what drawing the cue itself does to all validation pictures, without any finding."""
    module = DigitsModule().eval()
    module.load_state_dict(kept["state"])
    plain, label = planted("clean", 0, train=False), planted_class(name, seed)
    marked = copy.copy(plain)
    marked.pictures = plain.pictures.clone()
    for picture in marked.pictures:
        PLANTS[name].put(picture)
    own = torch.tensor(plain.targets) == label
    without, with_it = (
        module(torch.stack([of[i][0] for i in range(len(of))])).argmax(dim=1) == label
        for of in (plain, marked)
    )
    turned = f"{int((own & with_it & ~without).sum())}/{int((own & with_it).sum())}"
    return f"{turned} | {int((~own & with_it & ~without).sum())}/{int((~own & ~without).sum())}"


def place_of(of: Shortcut) -> str:
    """Return where a shortcut was found."""
    return of.place.box.words if of.place else "no place"


def told(effect: Effect | None) -> str:
    """Return an effect, with its control."""
    return f"{effect.flipped}/{effect.total} ({effect.control})" if effect else "untried"


def simulate(rounds: int, lift: float, *, low: int, seed: int) -> tuple[int, int]:
    """Return in how many rounds the interval holds the lift, and in how many a phrase stands out.

    Rounds of 200 right answers of five classes, 40 each, of which `low` of one class are Low; a
    phrase that a tenth of all have, these `lift` times as often, among twelve that all have alike.
    """
    generator = np.random.default_rng(seed)
    fillers = [f"thing {i}" for i in range(12)]
    held = stood_out = 0
    for _ in range(rounds):
        samples = []
        for i in range(200):
            is_low = i < low or (i >= 40 and i % 10 == 0)
            rate = 0.1 * lift if i < low else 0.1
            said = ("a red dot",) if generator.random() < rate else ()
            samples.append(
                Spoken(f"class {i // 40}", is_low, (*said, str(generator.choice(fillers))))
            )
        has = [("a red dot" in s.phrases, s.label == "class 0" and s.is_low) for s in samples]
        ends = ratio_interval(
            sum(h and own for h, own in has), low, sum(h and not own for h, own in has), 200 - low
        )
        held += ends.lower <= lift <= ends.upper
        stood_out += any(t.stands_out for t in find_topics(samples))
    return held, stood_out


def print_topics(rounds: int) -> None:
    """Print the table of simulated phrases."""
    print("| planted lift | Low of the class | rounds | interval holds it | a phrase stands out |")
    print("|---|---|---|---|---|")
    for lift in (1.0, 2.0, 4.0, 8.0):
        for low in (15, 30):
            held, stood_out = simulate(rounds, lift, low=low, seed=int(lift) * 100 + low)
            print(
                f"| {lift:g} | {low} | {rounds} | {held / rounds:.1%} | {stood_out / rounds:.1%} |",
                flush=True,
            )


def main() -> None:
    """Run every plant with every seed, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plants", nargs="+", default=["clean", *PLANTS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder of what was trained before")
    parser.add_argument("--topics", type=int, help="simulated rounds; nothing is trained")
    args = parser.parse_args()
    quieten()
    warnings.filterwarnings("ignore")
    if args.topics:
        print_topics(args.topics)
        return
    print(
        "| plant | seed | class | accuracy | found | place | alike | erased | pasted | "
        "not drawn | drawn on others |"
    )
    print("|---" * 11 + "|", flush=True)
    sums: dict[str, list[tuple[bool, bool, int, int]]] = {}
    for name in args.plants:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            file = args.keep and args.keep / f"{name}-{seed}-{args.epochs}-{args.probes}.pt"
            if file and file.exists():
                kept = torch.load(file, weights_only=False)
            else:
                kept = train(name, seed, epochs=args.epochs, probes=args.probes)
                if file:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    torch.save(kept, file)
            found, own_name = look(name, seed, kept), NAMES[planted_class(name, seed)]
            head = f"| {name} | {seed} | {own_name if name != 'clean' else '-'} |"
            drawn = drawn_effects(name, seed, kept) if name != "clean" else "|"
            for of in found or [None]:
                row = "nothing | | | | |" if of is None else (
                    f"{'**alert**' if of.is_proven else 'looks'} {of.label} {of.low}/{of.right} | "
                    f"{place_of(of)} | {of.likeness.like}/{of.likeness.total} | "
                    f"{told(of.erased)} | {told(of.pasted)} |"
                )  # fmt: skip
                print(head, f"{kept['accuracy']:.3f} |", row, drawn, "|", flush=True)
            alerts = [of for of in found if of.is_proven]
            own = [of for of in alerts if name != "clean" and of.label == own_name]
            is_placed = bool(own) and PLANTS[name].place in ("", place_of(own[0]))
            looks = len(found) - len(alerts)
            sums.setdefault(name, []).append((bool(own), is_placed, len(alerts) - len(own), looks))
    print("\n| plant | alert on the class | place right as well | on other classes | only looks |")
    print("|---|---|---|---|---|")
    for name, runs in sums.items():
        n, (named, placed, others, looks) = len(runs), map(sum, zip(*runs, strict=True))
        is_planted = name != "clean"
        is_somewhere = is_planted and PLANTS[name].place
        print(
            f"| {name} | {f'{named} of {n}' if is_planted else '-'} | "
            f"{f'{placed} of {n}' if is_somewhere else '-'} | "
            f"{others} of {n * (9 if is_planted else 10)} | {looks} |"
        )


if __name__ == "__main__":
    main()
