"""What the report of an audit costs: reading, the build, and how fast it opens and filters.

Run `python benchmarks/audit_report.py [SAMPLES]`. The run folder is made by a script in the form
that an audit writes: two ranks, 1,000 classes, 2,000 samples with pictures of 224 pixels,
probabilities, a table of groups. The build is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from report import _NOTE_READY, _peak_mib

from lightning_vlmxai.report import read_run, write_report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from audit_folders import draw_lines, write_audit

OPENS_S, FILTERS_S = 3.0, 0.3
CLASSES, PICTURES, SIDE = 1_000, 2_000, 224
CHANGES = {
    "quadrant": ("select[name=quadrant]", "correct_low"),
    "class": ("select[name=class]", "=class 0007"),
    "group": ("select[name=group]", "hospital=H3"),
    "sort": ("select[name=sort]", "unsure"),
    "words": ("input[name=find]", "ground (4"),
}
_CHANGE = """async ([selector, value]) => {
    const box = document.querySelector(`#gallery ${selector}`);
    const start = performance.now();
    box.value = value;
    box.dispatchEvent(new Event(box.tagName === "SELECT" ? "change" : "input"));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - start;
}"""


def _write(folder: Path, count: int) -> Path:
    bad = {"class 0007": 0.6, "camera=yard": 0.2}
    lines = draw_lines(count, classes=CLASSES, bad=bad)
    rows = [
        f"{line['file']},H{line['probe'] % 40},{line['probe'] % 7},{line['probe'] % 90}"
        for line in lines
    ]
    (folder / "meta.csv").write_text("\n".join(["file,hospital,day,age", *rows]))
    return write_audit(
        folder / "run", lines, pictures=PICTURES, side=SIDE, ranks=2, classes=CLASSES
    )


def _build(folder: Path, pipe: Connection) -> None:
    imports = _peak_mib()
    start = time.perf_counter()
    read_run(folder / "run")
    read_s, read_mib = time.perf_counter() - start, _peak_mib()
    start = time.perf_counter()
    write_report(folder / "run", groups=folder / "meta.csv")
    pipe.send((imports, read_s, read_mib, time.perf_counter() - start, _peak_mib()))


def _open(page: Page, address: str) -> float:
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    page.wait_for_timeout(500)
    ready: float = page.evaluate("window.readyAt")
    return ready / 1000


def _browse(file: Path) -> tuple[float, dict[str, float]]:
    """Return seconds to a page that answers, and from each change to its result."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        page = browser.new_page()
        page.add_init_script(_NOTE_READY)
        ready, took = _open(page, file.as_uri()), {}
        for name, change in CHANGES.items():
            page.evaluate("location.hash = '#/gallery?sort=probe'")
            page.wait_for_timeout(600)
            took[name] = page.evaluate(_CHANGE, list(change)) / 1000
        browser.close()
    return ready, took


def _size(path: Path, pattern: str) -> float:
    return sum(file.stat().st_size for file in path.rglob(pattern) if file.is_file()) / 1e6


def main() -> None:
    """Print what was measured, and each limit with how much of it was used."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = _write(folder, count)
        print(
            f"{count:,} samples, {CLASSES:,} classes. Run folder: lines "
            f"{_size(run, '*.jsonl'):.0f} MB, probabilities {_size(run, '*.f32'):.0f} MB, "
            f"{PICTURES:,} samples' pictures {_size(run, '*.png'):.0f} MB"
        )
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        builder = context.Process(target=_build, args=(folder, sender))
        builder.start()
        imports, read_s, read_mib, build_s, build_mib = receiver.recv()
        builder.join()
        page = run / "report.html"
        print(
            f"Read in {read_s:.1f} s with {read_mib - imports:.0f} MiB; page of "
            f"{page.stat().st_size / 1e6:.1f} MB built in {build_s:.1f} s with "
            f"{build_mib - imports:.0f} MiB beyond the imports' {imports:.0f}\n"
        )
        ready, took = _browse(page)
        print("| | took | of the limit |\n|---|---:|---:|")
        print(f"| opens | {ready:.2f} s | {ready / OPENS_S:.2f} |")
        for change, seconds in took.items():
            print(f"| filters by {change} | {seconds:.3f} s | {seconds / FILTERS_S:.2f} |")


if __name__ == "__main__":
    main()
