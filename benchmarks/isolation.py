"""What it costs to prove that an explanation harms nothing, and what copying costs a round.

`python benchmarks/isolation.py`, in CPU seconds of one thread, on which other programs hardly tell.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torchvision
from torch import nn

from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, LiveModel, Proof, copy_module
from lightning_vlmxai.explain.bits import checksums
from lightning_vlmxai.records import Probe

PROBES, SIDE, REPEATS = 8, 224, 3


def main() -> int:
    """Print the costs for each network; return 1 if the proof takes longer than its goal."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, medians of {REPEATS}, {PROBES} probes\n")
    columns = (
        "values",
        "checksums",
        "proof",
        "copy",
        "copy, MiB",
        "borrowed round",
        "copied round",
    )
    print(f"| network | {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    proofs = [measure(name) for name in ("resnet50", "vit_b_16")]
    print(f"\nPeak memory of the process: {peak():.0f} MiB.")
    return int(proofs[0] > 2)


def measure(name: str) -> float:
    """Print a network's row; return the seconds that its proof takes."""
    network: nn.Module = getattr(torchvision.models, name)(num_classes=10)
    live, probes = LiveModel(network), [make_probe(i) for i in range(PROBES)]
    layer = "layer4" if name == "resnet50" else "encoder.layers.encoder_layer_11.ln_1"
    explainer = Explainer(target_layer=layer, batch_size=8)

    def prove() -> None:
        proof = Proof(live)
        proof.stand_in()
        proof.changes()

    def copied() -> None:
        made = copy_module(live)
        explainer(replace(live, stand_in=lambda: made), probes)

    parameters = list(network.parameters())
    explainer(live, probes[:1])
    proof = median(prove)
    proof_once = Proof(live)
    proof_once.stand_in()
    figures = (
        f"{proof_once.values}",
        f"{median(lambda: checksums(parameters)):.3f}",
        f"{proof:.2f}",
        f"{median(lambda: copy_module(live)):.2f}",
        f"{proof_once.copy_bytes / 2**20:.0f}",
        f"{median(lambda: explainer(live, probes)):.2f}",
        f"{median(copied):.2f}",
    )
    print(f"| {name} | {' | '.join(figures)} |", flush=True)
    return proof


def make_probe(index: int) -> Probe:
    """Return a probe of noise."""
    picture = torch.rand(3, SIDE, SIDE)
    call = Call.of([picture[None]], {}, 1, picture[None])
    assert call is not None  # noqa: S101 - a picture it is
    return Probe(index=index, call=call, pixels=picture, target=torch.tensor(0))


def median(work: Callable[[], object]) -> float:
    """Return the median of the seconds that work takes."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def peak() -> float:
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
