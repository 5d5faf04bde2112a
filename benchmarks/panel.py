"""What judging a share of the probes saves, and what the estimates are worth: replays of real runs.

    PYTHONPATH=examples python benchmarks/panel.py --record runs/panel --digits
    PYTHONPATH=examples python benchmarks/panel.py --record runs/panel --pets data --weights m.pth
    python benchmarks/panel.py runs/panel/*.npz --share 0.4

A recording has the predictions, masks' agreements and verdicts of a run in which all was judged, by
`ReferenceMaskJudge`. A replay draws with another seed who is judged, as `rounds.panel` does, and
compares the figures with those of judging all. With `--noise` each verdict is blurred by a seeded
normal number and rounded to halves, as a VLM's might be: then judging all is itself a draw, and so
is asking twice about the same mask.

Printed of each run, over rounds in which anything was left out: calls saved over all rounds; mean
absolute error of the four rates and of their mean, in points; how often the estimate's own 95 %
interval by the draw alone holds the Correct-Low rate that judging all gives; and how often a gate
fires within a round of where it would, and the mean distance in rounds: a gate at the Correct-Low
rate, and one at the lower end of its interval, of the limits at which each would fire after the
first round.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_vlmxai.records import Quadrant, Verdict
from lightning_vlmxai.rounds import Answer, Interval, estimate_quadrants, estimated_rates
from lightning_vlmxai.rounds.drawing import draw_systematic, expect, plan
from lightning_vlmxai.rounds.panel import REMEMBERED, Chance, next_share

THRESHOLD, PROBES, EPOCHS = 2.5, 64, 20
LIMITS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
LOW = Quadrant.CORRECT_LOW


class Recording(NamedTuple):
    """A run of T rounds over P probes.

    Args:
        prediction: `[T, P]` int.
        correct: `[T, P]` bool.
        score: `[T, P]`, in [0, 5]; NaN where the map was blank.
        iou: Of a probe's masks in two rounds, `[P, T, T]`.
    """

    prediction: np.ndarray
    correct: np.ndarray
    score: np.ndarray
    iou: np.ndarray


class Replayed(NamedTuple):
    """What a replay came to.

    Args:
        asked: Calls.
        errors: Of the four rates in rounds that were drawn, `[rounds, 4]`.
        held: Whether the interval of the draw held the Correct-Low rate, of the same rounds.
        rates: Correct-Low as estimated, and its lower end, of all rounds.
        whole: The same with all judged.
    """

    asked: int
    errors: list[list[float]]
    held: list[bool]
    rates: list[tuple[float, float]]
    whole: list[tuple[float, float]]


def replay(run: Recording, share: float, lag: int, generator: np.random.Generator) -> Replayed:
    """Return what judging a share of a recorded run would have given."""
    rounds, probes = run.score.shape
    past: list[list[int]] = [[] for _ in range(probes)]
    told: list[tuple[list[int], list[Chance], int]] = []
    found = Replayed(0, [], [], [], [])
    asked, now = 0, share
    for t in range(rounds):
        # The book opens a round before it closes the one that trails by the lag.
        if t - 1 - lag >= 0:
            now = hear(run, told[t - 1 - lag], past, now, share)
        sent = [p for p in range(probes) if not math.isnan(run.score[t, p])]
        chances = draw(run, t, sent, past, now, share, generator)
        told.append((sent, chances, t))
        asked += sum(chance.is_asked for chance in chances)
        look(run, t, sent, chances, found)
    return found._replace(asked=asked)


def draw(
    run: Recording,
    t: int,
    sent: list[int],
    past: list[list[int]],
    now: float,
    share: float,
    generator: np.random.Generator,
) -> list[Chance]:
    """Return who is judged, as `Panel.draw` does with masks that are already compared."""
    places, expected = [], []
    for place, p in enumerate(sent):
        if past[p] and run.prediction[past[p][-1], p] == run.prediction[t, p]:
            places.append(place)
            expected.append(expect(run.score[past[p], p], run.iou[p, past[p], t]))
    inclusion = plan(
        [e.chance_of_change(THRESHOLD) for e in expected],
        [False] * len(expected),
        share=now,
        probes=len(sent),
        watched_share=share,
    )
    chances = [Chance() for _ in sent]
    drawn = draw_systematic(inclusion, generator)
    for place, e, q, is_in in zip(places, expected, inclusion, drawn, strict=True):
        chances[place] = Chance(inclusion=q, is_asked=is_in, expected=e.score)
    return chances


def hear(
    run: Recording,
    told: tuple[list[int], list[Chance], int],
    past: list[list[int]],
    now: float,
    share: float,
) -> float:
    """Remember what was asked in a closed round, and return the share of the next."""
    sent, chances, t = told
    for p, chance in zip(sent, chances, strict=True):
        if chance.is_asked:
            same = [u for u in past[p] if run.prediction[u, p] == run.prediction[t, p]]
            past[p] = [*same, t][-REMEMBERED:]
    verdicts = [Verdict.scored(run.score[t, p]) for p in sent]
    return next_share(now, share, chances, verdicts, THRESHOLD)


def look(run: Recording, t: int, sent: list[int], chances: list[Chance], found: Replayed) -> None:
    """Compare a round's estimates with what judging all gives."""
    answers, every = [], []
    for p, chance in zip(sent, chances, strict=True):
        right, score = bool(run.correct[t, p]), float(run.score[t, p])
        every.append(Answer(right, score))
        stands = chance.expected is not None and chance.inclusion < 1
        answers.append(
            Answer(
                right,
                score if chance.is_asked else None,
                chance.inclusion if stands else 1.0,
                chance.expected if stands else None,
                chance.is_asked,
            )
        )
    whole = {q: e.mean or 0.0 for q, e in estimate_quadrants(every, THRESHOLD).items()}
    rates = estimated_rates(answers, THRESHOLD)
    found.whole.append(ends_of(estimated_rates(every, THRESHOLD)))
    found.rates.append(ends_of(rates))
    if all(a.expected is None for a in answers):
        return
    found.errors.append([abs(rates[q][0] - whole[q]) for q in Quadrant])
    lower, upper = estimate_quadrants(answers, THRESHOLD)[LOW].ends
    found.held.append(lower - 1e-9 <= whole[LOW] <= upper + 1e-9)


def ends_of(rates: dict[Quadrant, tuple[float, Interval]]) -> tuple[float, float]:
    """Return Correct-Low and the lower end of its interval."""
    rate, ends = rates[LOW]
    return rate, ends.lower


def fires(rates: list[float], limit: float) -> int:
    """Return the round in which a gate at this limit fires; their number if it never does."""
    return next((t for t, rate in enumerate(rates) if rate > limit), len(rates))


def blur(run: Recording, noise: float, generator: np.random.Generator) -> Recording:
    """Return a run whose judge is a noisy one, with scores in halves."""
    moved = run.score + noise * generator.normal(size=run.score.shape)
    return run._replace(score=np.clip(np.round(2 * moved) / 2, 0, 5))


def measure(run: Recording, options: argparse.Namespace, noise: float) -> list[str]:
    """Return a line of the table."""
    generator = np.random.default_rng(0)
    saved, errors, held, flips = [], [], [], []
    distances: tuple[list[int], list[int]] = ([], [])
    for _ in range(options.replays):
        one = blur(run, noise, generator) if noise else run
        found = replay(one, options.share, options.lag, generator)
        saved.append(1 - found.asked / np.isfinite(run.score).sum())
        errors += found.errors
        held += found.held
        high = one.score >= THRESHOLD
        flips.append(np.mean(high[1:] != high[:-1]))
        for end, apart in enumerate(distances):
            whole, rates = ([ends[end] for ends in of] for of in (found.whole, found.rates))
            for limit in LIMITS:
                at = fires(whole, limit)
                if 0 < at < len(whole):
                    apart.append(abs(at - fires(rates, limit)))
    mean = 100 * np.mean(errors, axis=0)
    return [
        f"{100 * np.mean(flips):.0f} %",
        f"{100 * np.mean(saved):.0f} %",
        *(f"{error:.2f}" for error in mean),
        f"{mean.mean():.2f}",
        f"{100 * np.mean(held):.1f} %",
        *(tell_gate(apart) for apart in distances),
    ]


def tell_gate(apart: list[int]) -> str:
    """Return how often a gate fires within a round of where it would, and the mean distance."""
    if not apart:
        return "never fires"
    return f"{100 * np.mean(np.array(apart) <= 1):.0f} % ({np.mean(apart):.1f})"


def record(folder: Path, options: argparse.Namespace) -> None:
    """Train, judging all, and keep what a replay needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in [*(["digits"] if options.digits else []), *(["pets"] if options.pets else [])]:
        for seed in options.seeds:
            for red_dot in (False, True):
                name = f"{kind}_{'dotted' if red_dot else 'clean'}_{seed}"
                if not (folder / f"{name}.npz").exists():
                    run = train(kind, red_dot, seed, options)
                    np.savez_compressed(folder / f"{name}.npz", **run._asdict())
                    print("recorded", name, flush=True)


def train(kind: str, red_dot: bool, seed: int, options: argparse.Namespace) -> Recording:
    """Return a recorded run of an example."""
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader

    from lightning_vlmxai import ReferenceMaskJudge, VLMExplainCallback
    from red_dot import quieten

    quieten()
    pl.seed_everything(seed, workers=True, verbose=False)
    explain = VLMExplainCallback(ReferenceMaskJudge(), probe_size=PROBES, lag=0)
    rounds: list[Any] = []

    class Keep(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            latest = explain.latest_round
            if latest is not None and not trainer.sanity_checking:
                rounds.append(latest.samples)

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, callbacks=[explain, Keep()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=options.record,
    )  # fmt: skip
    if kind == "digits":
        from digits_red_dot import DigitsData, DigitsModule

        trainer.fit(DigitsModule(), datamodule=DigitsData(red_dot))
    else:
        from pets_red_dot import Pets, PetsModule

        data = Pets(options.pets, "trainval", red_dot=red_dot, flip=True)
        val = Pets(options.pets, "test", red_dot=red_dot)
        module = PetsModule(str(options.weights), options.tf_padding)
        trainer.fit(module, DataLoader(data, 16, shuffle=True), DataLoader(val, 32))
    return tell(rounds)


def tell(rounds: list[Any]) -> Recording:
    """Return the samples of rounds as a recording."""
    explained = [[sample.explanation for sample in of] for of in rounds]
    masks = np.stack([[e.mask.numpy().ravel() >= 0.5 for e in of] for of in explained])
    ious = []
    for own in masks.transpose(1, 0, 2).astype(np.float32):
        both, sizes = own @ own.T, own.sum(axis=1)
        ious.append(both / np.maximum(sizes[:, None] + sizes - both, 1))
    scores = [[s.verdict.score for s in of] for of in rounds]
    return Recording(
        np.array([[e.prediction for e in of] for of in explained]),
        np.array([[bool(e.is_correct) for e in of] for of in explained]),
        np.array(scores, dtype=float),
        np.stack(ious).astype(np.float32),
    )


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table's lines."""
    gates = ("gate within a round (distance)", "gate at the lower end")
    names = ("run", "judge", "verdicts that change sides", "saved", "CH", "CL", "WH", "WL",
             "mean", "interval holds", *gates)  # fmt: skip
    yield f"| {' | '.join(names)} |"
    yield f"|---|---|{'---:|' * (len(names) - 2)}"
    for path in options.recordings:
        with np.load(path) as file:
            run = Recording(**{name: file[name] for name in Recording._fields})
        for noise in (0.0, options.noise):
            judge = f"blurred by {noise:g}" if noise else "as recorded"
            yield f"| {path.stem} | {judge} | {' | '.join(measure(run, options, noise))} |"


def main() -> None:
    """Record, or replay and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--lag", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.4, help="of the noisy judge's scores")
    parser.add_argument("--record", type=Path, help="train, and keep the recordings here")
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--pets", type=Path, help="holds oxford-iiit-pet")
    parser.add_argument("--weights", type=Path, default=Path("DEFAULT"))
    parser.add_argument("--tf-padding", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    options = parser.parse_args()
    if options.record:
        record(options.record, options)
    for line in rows(options) if options.recordings else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
