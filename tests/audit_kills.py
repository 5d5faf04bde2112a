"""Audits that are killed at random moments and gone on with, against one that ran through.

`python tests/audit_kills.py --kills 20` kills one audit twenty times, with one and two ranks in
turn, and prints what came of it. The judge is a server on loopback here, which knows what it was
asked and when it had answered.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning_vlmxai
from kills import Clerk
from lightning_vlmxai.sinks import count_audit
from lightning_vlmxai.sinks.audit_folder import read_lines
from openai_server import OpenAIServer

ROWS = 203  # no multiple of ranks or batches
PASSING = ("epoch", "step", "row", "image", "saliency", "picture", "reference_mask", "asked")
"""What depends on how an audit was cut up, and on no sample."""
PAID = ("calls", "tokens", "cost_usd", "latency_s", "is_cached")
"""What an answer cost stands where it was paid for: at the row, or before a kill."""


def audit(folder: Path, base_url: str, ranks: int) -> None:
    """Audit, going on where the last one was killed."""
    from lightning.pytorch.strategies import DDPStrategy

    from helpers_judge import make_judge
    from lightning_vlmxai import VLMAuditCallback
    from lightning_vlmxai.callbacks import vlm_audit
    from tiny import Separable, Squares, loader, make_trainer

    warnings.filterwarnings("ignore")
    vlm_audit.write_report = lambda _: None
    judge = make_judge(base_url, concurrency=4, prices={"loopback": [1.0, 1.0]})
    trainer = make_trainer(
        folder,
        VLMAuditCallback(judge, run_dir=folder / "run", pictures=30, max_pending=20),
        devices=ranks,
        strategy=DDPStrategy() if ranks > 1 else "auto",
    )
    trainer.validate(Separable(), loader(Squares(ROWS)), verbose=False)


def start(folder: Path, base_url: str, ranks: int) -> subprocess.Popen[bytes]:
    """Start an audit in a process group of its own."""
    paths = [str(Path(__file__).parent), str(Path(lightning_vlmxai.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--audit", str(folder), base_url, "--ranks", str(ranks)]
    with (folder / "printed.txt").open("ab") as printed:
        return subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )


def samples(folder: Path) -> dict[int, dict[str, Any]]:
    """Return what was found of each sample, and nothing of how and when."""
    return {
        line["probe"]: {k: v for k, v in line.items() if k not in (*PASSING, *PAID)}
        for line in read_lines(folder / "run", "validate")
    }


def kill_and_go_on(folder: Path, kills: int, seed: int) -> tuple[str, bool]:
    """Run one audit through and one with kills; return a line about it, and whether all is well."""
    draw = random.Random(seed)  # noqa: S311
    whole, parts = folder / "whole", folder / "parts"
    clerks: dict[Path, Clerk] = {}
    killed: list[float] = []
    for place in (whole, parts):
        place.mkdir(parents=True)
        clerk = clerks[place] = Clerk()
        with OpenAIServer(clerk) as server:
            for turn in range(kills + 1 if place is parts else 1):
                process = start(place, server.base_url, 1 + turn % 2)
                if place is whole or turn == kills:
                    assert process.wait(600) == 0, (place / "printed.txt").read_text()[-2000:]
                    break
                asked = len(server.requests)
                while len(server.requests) == asked and process.poll() is None:
                    time.sleep(0.01)  # importing is not what is tried
                time.sleep(draw.random() * 8 / kills)
                if process.poll() is not None:
                    assert process.wait() == 0, (place / "printed.txt").read_text()[-2000:]
                    break
                killed.append(time.monotonic())
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    same = samples(whole) == samples(parts)
    figures = [count_audit(place / "run", "validate") for place in (whole, parts)]
    first, second = (
        {k: v for k, v in one.metrics.items() if k not in ("calls", "tokens", "cost")}
        for one in figures
    )
    same &= first == second and figures[0].fingerprint == figures[1].fingerprint
    lines = [line["probe"] for line in read_lines(parts / "run", "validate")]
    repeated = clerks[parts].repeated(killed)
    again = sum(map(len, clerks[parts].answered.values())) - len(clerks[parts].answered)
    line = (
        f"seed {seed}: {len(killed)} kills, 1 and 2 ranks in turn; {len(samples(parts))} of {ROWS} "
        f"samples in {len(lines)} lines; samples and figures {'equal' if same else 'DIFFER'}; "
        f"{repeated} answered pictures asked again ({again} were under way at a kill)"
    )
    return line, same and not repeated and len(lines) == len(set(lines)) == ROWS


def main() -> None:
    """Kill, go on, compare and print; status 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--audit", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.audit:
        audit(Path(given.audit[0]), given.audit[1], given.ranks)
        return
    with tempfile.TemporaryDirectory() as folder:
        line, is_fine = kill_and_go_on(Path(folder), given.kills, given.seed)
    print(line)
    sys.exit(not is_fine)


if __name__ == "__main__":
    main()
