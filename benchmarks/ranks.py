"""What a second rank saves: the time to explain the same probes on one rank and on two.

Prints a row of a Markdown table: `python benchmarks/ranks.py`. Each process has one thread, so
two ranks take two cores; both measurements are made in the same processes, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torchvision.models import resnet18

from lightning_vlmxai.explain import Explainer
from lightning_vlmxai.probe import Item, build_probe_set
from lightning_vlmxai.ranks import Ranks
from lightning_vlmxai.rounds import without_probe


def measure(rank: int, probes: int, side: int, rounds: int) -> None:
    """Time rounds on one rank of two, and on rank 0 alone; rank 0 prints."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    module = resnet18(weights=None)
    pictures = torch.rand(probes, 3, side, side)
    items = [(i, Item(image=picture, target=i % 10)) for i, picture in enumerate(pictures)]
    probe_set = build_probe_set(items, None, None)
    explainer = Explainer(target_layer="layer4.1")
    ranks = Ranks(rank=rank, size=2)

    def one_round(sharing: Ranks) -> int:
        own = [without_probe(e) for e in explainer(module, sharing.share(probe_set.probes))]
        return sum(map(len, sharing.gather(own)))

    def alone() -> int:
        return one_round(Ranks()) if rank == 0 else probes

    def timed(work: Callable[[], int]) -> float:
        dist.barrier()
        started = time.perf_counter()
        if work() != probes:
            raise RuntimeError("Some probes were not explained.")
        dist.barrier()
        return time.perf_counter() - started

    times = [(timed(alone), timed(lambda: one_round(ranks))) for _ in range(rounds + 1)][1:]
    one, two = (statistics.median(column) for column in zip(*times, strict=True))
    if rank == 0:
        print("| model | probes | 1 rank, s a round | 2 ranks, s a round | ratio |")
        print("|---|---|---|---|---|")
        name = f"ResNet18, {side} px, Grad-CAM"
        print(f"| {name} | {probes} | {one:.2f} | {two:.2f} | {two / one:.2f} |")
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
