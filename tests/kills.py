"""Fits that are killed at random moments and resumed, against fits that ran through.

`python tests/kills.py --kills 30` prints a line for each fit; `--ranks 2` for two processes,
`--signal TERM` to end them in order instead, with how long that took. The judge is a server on
loopback here, which knows what it was asked and when it had answered.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning_vlmxai
from curves import Steady, read_lines
from openai_server import OpenAIServer, Reply, Seen, judge_by_light

EPOCHS, PROBES = 8, 6
SETTLED_S = 0.5
"""An answer sent so long before a kill must be known afterwards."""


def fit(folder: Path, base_url: str, ranks: int) -> None:
    """Train, from the last checkpoint on if there is one."""
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.strategies import DDPStrategy

    from helpers_judge import make_judge
    from lightning_vlmxai import VLMExplainCallback
    from tiny import Squares, loader, make_trainer

    warnings.filterwarnings("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Slow(Steady):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            time.sleep(0.1)

    judge = make_judge(base_url, concurrency=2, prices={"loopback": [1.0, 1.0]})
    keep = ModelCheckpoint(folder, save_last=True)
    trainer = make_trainer(
        folder,
        VLMExplainCallback(judge, probe_size=PROBES, lag=1, run_dir=folder / "run"),
        keep,
        max_epochs=EPOCHS,
        enable_checkpointing=True,
        devices=ranks,
        strategy=DDPStrategy() if ranks > 1 else "auto",
    )
    last = folder / "last.ckpt"
    trainer.fit(
        Slow(),
        loader(Squares()),
        loader(Squares(16, seed=1)),
        ckpt_path=last if last.exists() else None,
    )


class Clerk:
    """Answers, and knows what of it was asked for twice."""

    def __init__(self) -> None:
        self.answered: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """When each picture was asked about, and answered, each time."""

    def __call__(self, seen: Seen) -> Reply:
        """Answer after a moment."""
        asked = time.monotonic()
        time.sleep(0.15)
        digest = hashlib.sha256(seen.label.encode() + b"".join(seen.picture_bytes)).hexdigest()
        self.answered[digest].append((asked, time.monotonic()))
        return judge_by_light(seen)

    def repeated(self, kills: list[float]) -> int:
        """Return how many were asked for again though an answer was there before the next kill."""
        return sum(
            answered + SETTLED_S < min([again, *(kill for kill in kills if kill > asked)])
            for times in self.answered.values()
            for (asked, answered), (again, _) in pairwise(times)
        )

    @property
    def last(self) -> float:
        """When the last answer was sent."""
        return max((times[-1][1] for times in self.answered.values()), default=0.0)


def start(folder: Path, base_url: str, ranks: int) -> subprocess.Popen[bytes]:
    """Start a fit in a process group of its own."""
    here = Path(__file__).parent
    paths = [str(here), str(Path(lightning_vlmxai.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--fit", str(folder), base_url, "--ranks", str(ranks)]
    with (folder / "printed.txt").open("ab") as printed:
        return subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )


def curves(folder: Path) -> dict[int, dict[str, Any]]:
    """Return each round's last line, without what its own process paid for it."""
    paid = {"calls", "tokens", "cost"}
    lines = read_lines(folder / "run" / "rounds.jsonl")
    return {
        line["number"]: {name: value for name, value in line.items() if name not in paid}
        for line in lines
    }


def account(folder: Path) -> tuple[int, int, float]:
    """Return what the judge's log adds up to: requests, tokens and US dollars."""
    lines = read_lines(folder / "run" / "judge_calls.jsonl")
    sums = [sum(line[name] or 0 for line in lines) for name in ("tries", "tokens", "cost_usd")]
    return int(sums[0]), int(sums[1]), round(sums[2], 6)


def kill_and_resume(folder: Path, ranks: int, kills: int, seed: int) -> tuple[str, bool, int]:
    """Run a fit that is killed at most so many times.

    Returns:
        A line about it, whether all was well, and how often it was killed.
    """
    draw = random.Random(seed)  # noqa: S311
    whole, parts = folder / "whole", folder / "parts"
    found = {}
    killed: list[float] = []
    for place in (whole, parts):
        place.mkdir(parents=True)
        clerk = Clerk()
        with OpenAIServer(clerk) as server:
            while True:
                process = start(place, server.base_url, ranks)
                if place is whole or len(killed) >= kills:
                    assert process.wait(600) == 0, (place / "printed.txt").read_text()[-2000:]
                    break
                asked = len(server.requests)
                while len(server.requests) == asked and process.poll() is None:
                    time.sleep(0.01)  # importing is not what is tried
                time.sleep(draw.random() * 3.0)
                if process.poll() is not None:
                    assert process.wait() == 0, (place / "printed.txt").read_text()[-2000:]
                    break
                killed.append(time.monotonic())
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        found[place] = clerk
    same = curves(whole) == curves(parts)
    repeated = found[parts].repeated(killed)
    rounds = sorted(curves(parts))
    paid = {place: account(place) for place in (whole, parts)}
    again = sum(map(len, found[parts].answered.values())) - len(found[parts].answered)
    line = (
        f"ranks {ranks}, seed {seed}: {len(killed)} kills; rounds {rounds[0]} to {rounds[-1]} of "
        f"{EPOCHS}; curves {'equal' if same else 'DIFFER'}; calls, tokens and cost "
        f"{paid[whole]} and {paid[parts]}; {repeated} answered calls repeated ({again} were under "
        "way at a kill)"
    )
    fine = same and not repeated and rounds == list(range(EPOCHS)) and paid[whole] == paid[parts]
    return line, fine, len(killed)


def end_in_order(folder: Path, ranks: int, seed: int) -> tuple[str, bool]:
    """Send SIGTERM at a random moment; return a line about it, and whether all was well."""
    draw = random.Random(seed)  # noqa: S311
    folder.mkdir(parents=True)
    clerk = Clerk()
    with OpenAIServer(clerk) as server:
        process = start(folder, server.base_url, ranks)
        while not (folder / "run" / "rounds.jsonl").exists():
            time.sleep(0.01)
            assert process.poll() is None, (folder / "printed.txt").read_text()[-2000:]
        time.sleep(draw.random() * 5.0)
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        took = time.monotonic() - max(sent, clerk.last)
    has_report = (folder / "run" / "report.html").exists()
    line = (
        f"ranks {ranks}, seed {seed}: ended {took:.1f} s after the last answer, rounds "
        f"{sorted(curves(folder))}, report {'there' if has_report else 'MISSING'}"
    )
    return line, has_report and took <= 5


def main() -> None:
    """Kill, resume, compare and print; status 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--each", type=int, default=5, help="kills of one fit")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--fit", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(Path(arguments.fit[0]), arguments.fit[1], arguments.ranks)
        return
    all_fine, seed, left = True, arguments.seed, arguments.kills
    with tempfile.TemporaryDirectory() as scratch:
        while left > 0:
            folder = Path(scratch, str(seed))
            if arguments.signal == "TERM":
                line, fine = end_in_order(folder, arguments.ranks, seed)
                left -= 1
            else:
                most = min(left, arguments.each)
                line, fine, killed = kill_and_resume(folder, arguments.ranks, most, seed)
                left -= killed
            print(line, flush=True)
            all_fine, seed = all_fine and fine, seed + 1
    sys.exit(0 if all_fine else 1)


if __name__ == "__main__":
    main()
