"""What a second rank saves: the time to explain the same probes on one rank and on two.

Prints a row of a Markdown table: `python benchmarks/ranks.py`. Each process has one thread, so
two ranks take two cores; both measurements are made in the same processes, in turns. The CPU
seconds hold on a machine that is busy with other things as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torchvision.models import resnet18

from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, LiveModel
from lightning_vlmxai.records import Probe
from lightning_vlmxai.rounds.book import without_probe
from lightning_vlmxai.rounds.ranks import Ranks


def measure(rank: int, probes: int, side: int, rounds: int) -> None:
    """Time rounds on one rank of two, and on rank 0 alone; rank 0 prints."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    module = resnet18(weights=None)
    pictures = torch.rand(probes, 3, side, side)
    made = [
        Probe(
            index=i,
            call=Call.of_images(picture[None]),
            pixels=picture,
            target=torch.tensor(i % 10),
        )
        for i, picture in enumerate(pictures)
    ]
    explainer = Explainer(target_layer="layer4.1")
    ranks = Ranks(rank=rank, size=2)

    def timed(sharing: Ranks) -> tuple[float, float]:
        """Return the seconds of a round, and the CPU seconds of its busiest rank."""
        dist.barrier()
        started, busy = time.perf_counter(), time.process_time()
        if sharing.size == 2 or rank == 0:
            explained = explainer(LiveModel(module), sharing.share(made))
            busy = time.process_time() - busy
            sharing.gather([without_probe(e) for e in explained])
        else:
            busy = 0.0
        dist.barrier()
        return time.perf_counter() - started, max(ranks.gather(busy))

    times = [timed(Ranks()) + timed(ranks) for _ in range(rounds + 1)][1:]
    wall, cpu, wall_of_two, cpu_of_two = map(statistics.median, zip(*times, strict=True))
    if rank == 0:
        print(
            "| model | probes | 1 rank, s a round | 2 ranks | ratio "
            "| 1 rank, CPU s of attribution | 2 ranks, busiest | ratio |"
        )
        print("|---|---|---|---|---|---|---|---|")
        print(
            f"| ResNet18, {side} px, Grad-CAM | {probes} | {wall:.2f} | {wall_of_two:.2f} "
            f"| {wall_of_two / wall:.2f} | {cpu:.2f} | {cpu_of_two:.2f} | {cpu_of_two / cpu:.2f} |"
        )
    dist.destroy_process_group()


def main() -> None:
    """Start two ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=64)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    mp.spawn(  # type: ignore[no-untyped-call]
        measure, args=(arguments.probes, arguments.side, arguments.rounds), nprocs=2
    )


if __name__ == "__main__":
    main()
