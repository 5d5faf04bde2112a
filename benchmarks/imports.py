"""What importing the package takes, over importing what every user of it has imported already.

`python benchmarks/imports.py` prints the ratio of the fastest of some processes each, in turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

BASE = "import torch, lightning.pytorch"


def seconds(code: str) -> float:
    """Return how long a process of its own takes to run this code, in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    taken = [(seconds(BASE), seconds("import lightning_vlmxai")) for _ in range(repeats)]
    base, own = (min(column) for column in zip(*taken, strict=True))
    print(f"{BASE}: {base:.2f} s; import lightning_vlmxai: {own:.2f} s; ratio {own / base:.2f}")


if __name__ == "__main__":
    main()
