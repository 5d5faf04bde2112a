"""What a report costs: its size, its build, and how fast it opens and filters in a browser.

Run `python benchmarks/report.py`. Pictures are made by this script: a smooth field under fine
noise, which compresses about as badly as a photograph. Each build is a process of its own, so that
its peak memory is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import re
import shutil
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.nn.functional as F
from playwright.sync_api import sync_playwright
from torch import Tensor

from lightning_vlmxai.explain.masking import soft_mask
from lightning_vlmxai.records import Explanation, Round, Sample, Usage, Verdict
from lightning_vlmxai.report import write_report
from lightning_vlmxai.rounds.quadrants import assign_quadrant, round_metrics
from lightning_vlmxai.sinks import RunFolderSink

SIZES = ((64, 20, 224, 40), (1_000, 50, 64, 1_000))
"""Probes, rounds, side of a picture in pixels, classes (with names of 60 characters)."""
_WORDS = (
    "the",
    "kept",
    "region",
    "shows",
    "fur",
    "ear",
    "grass",
    "corner",
    "wall",
    "muzzle",
    "paw",
    "behind",
    "part",
    "of",
    "sky",
    "dark",
)

_FILTER = """async () => {
    const select = document.querySelector("#gallery select[name=quadrant]");
    const start = performance.now();
    select.value = "correct_low";
    select.dispatchEvent(new Event("change"));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - start;
}"""
_NOTE_READY = """new MutationObserver(() => {
    if ("ready" in (document.documentElement?.dataset ?? {})) window.readyAt ??= performance.now();
}).observe(document, { attributes: true, subtree: true });"""


def _field(cells: int, channels: int, side: int) -> Tensor:
    small = torch.rand(1, channels, cells, cells)
    return F.interpolate(small, (side, side), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def _write_run(path: Path, probes: int, rounds: int, side: int, classes: int) -> None:
    torch.manual_seed(0)
    rng = random.Random(0)  # noqa: S311 - words, not secrets
    pixels = [
        (_field(9, 3, side) + 0.06 * torch.randn(3, side, side)).clamp(0, 1) for _ in range(probes)
    ]
    sink = RunFolderSink(path, {"model": "Benchmark", "judge": "none", "threshold": 2.5})
    for number in range(rounds):
        samples = []
        for probe in range(probes):
            saliency, score = _field(7, 1, side)[0], rng.randrange(11) / 2
            name, is_correct = (
                f"class {probe % classes} of many, with a name ".ljust(60, "x"),
                rng.random() < 0.8,
            )
            explanation = Explanation(
                probe_index=probe,
                label=probe % classes,
                label_name=name,
                prediction=probe % classes,
                prediction_name=name if is_correct else "other",
                confidence=rng.random(),
                is_correct=is_correct,
                pixels=pixels[probe],
                saliency=saliency,
                mask=soft_mask(saliency),
            )
            verdict = Verdict.scored(
                score,
                evaluation=" ".join(rng.choices(_WORDS, k=45)),
                justification=" ".join(rng.choices(_WORDS, k=30)),
                usage=Usage(calls=1, tokens=1200, cost_usd=0.0002),
                latency_s=rng.random(),
            )
            quadrant = assign_quadrant(score, is_correct=is_correct)
            samples.append(
                Sample(
                    explanation=explanation,
                    verdict=verdict,
                    quadrant=quadrant,
                    attention_drift=rng.random() if number else None,
                )
            )
        sink.write(
            Round(
                number=number,
                stage="fit",
                epoch=number,
                step=number,
                fingerprint="benchmark",
                samples=tuple(samples),
                metrics=round_metrics(samples),
            )
        )


def _build(run_dir: Path, pipe: Connection) -> None:
    before = _peak_mib()
    start, worked = time.perf_counter(), time.process_time()
    write_report(run_dir)
    took, worked = time.perf_counter() - start, time.process_time() - worked
    pipe.send((took, worked, _peak_mib(), before))


def _peak_mib() -> float:
    """Return the process's peak memory; unlike `getrusage`, without that of its parent."""
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1024


def _browse(page_file: Path) -> tuple[float, float, float]:
    """Return milliseconds to first paint, to a page that answers, and to a filter's result."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_init_script(_NOTE_READY)
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000)
        page.wait_for_timeout(500)
        paint = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
        )
        ready = page.evaluate("window.readyAt")
        page.evaluate("location.hash = '#/gallery?round=all'")
        page.wait_for_selector(".card")
        filtered = page.evaluate(_FILTER)
        browser.close()
    return paint, ready, filtered


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="this row alone: 0 or 1")
    only = parser.parse_args().only
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}; load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| probes x rounds, picture | page | build (CPU) | peak memory (imports alone) "
        "| first paint | ready | filter over all rounds |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for number, (probes, rounds, side, classes) in enumerate(SIZES):
        if only not in (None, number):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run_dir = Path(folder, "run")
            _write_run(run_dir, probes, rounds, side, classes)
            # A fresh process, not a fork: what was written here is not in its memory.
            context = multiprocessing.get_context("spawn")
            receiver, sender = context.Pipe(duplex=False)
            builder = context.Process(target=_build, args=(run_dir, sender))
            builder.start()
            build_s, cpu_s, peak, imports = receiver.recv()
            builder.join()
            page = run_dir / "report.html"
            paint, ready, filtered = _browse(page)
            print(
                f"| {probes:,} x {rounds}, {side} px | {page.stat().st_size / 1e6:.1f} MB "
                f"| {build_s:.1f} s ({cpu_s:.1f}) | {peak:.0f} MiB ({imports:.0f}) "
                f"| {paint:.0f} ms | {ready:.0f} ms | {filtered:.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()
