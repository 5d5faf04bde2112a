"""A run folder whose samples have names and words that other programs trip over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_vlmxai.records import Round
from run_folders import make_round, write_run

FILES = (
    "val/zero/1.png", "=HYPERLINK(1).png", "a,b.png", 'say "x".png', "-2.jpg", "ünï/日本.png",
    None, "@cmd.png", "C:\\data\\1.png", "+3.png", "twice.png", "twice.png",
)  # fmt: skip
"""Of the probes; one is not known, two are the same."""
WORDS = ("=1+1", "two\nlines", 'a "quoted", word', "-", "@x", "plain", "\ttab", "ünï", "", "x;y")
SCORES = (3.28125, 0.03125, 2.5, 1e-05, 4.99995, 3.0, 0.0, 1.84375, 2.71828182, 5.0)
"""Among them middles between two numbers of four digits."""


def name_round(closed: Round) -> Round:
    """Return a round whose probes are named, its judge's words and its scores hard to write."""
    samples = []
    for place, sample in enumerate(closed.samples):
        verdict = sample.verdict
        if verdict.score is not None:
            own = SCORES[(place + closed.number) % len(SCORES)]
            word = WORDS[(place + closed.number) % len(WORDS)]
            high = sample.explanation.is_correct, own >= 2.5
            names = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
            quadrant = list(type(sample.quadrant))[names[high]]  # type: ignore[arg-type]
            verdict = replace(verdict, score=own, evaluation=word)
            sample = replace(sample, quadrant=quadrant)
        e = replace(sample.explanation, file=FILES[place % len(FILES)])
        drift = None if closed.number == 0 else 0.09375 * place / 12
        samples.append(replace(sample, explanation=e, verdict=verdict, attention_drift=drift))
    return replace(closed, samples=tuple(samples))


def write_named_run(path: Path, numbers: Sequence[int] = range(3)) -> list[Round]:
    """Write such rounds into a run folder; return them."""
    rounds = [name_round(make_round(number)) for number in numbers]
    return write_run(path, rounds, files="11 of 12 by the data set's `samples`")
