"""`make docs` builds a site without a broken link that loads nothing from the network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fences import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a strict build."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    """Styles, scripts, fonts and pictures are the site's own."""
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="([^"]*)"|<link(?![^>]*canonical)[^>]*\shref="([^"]*)"'
    )
    count = 0
    for page in site.rglob("*.html"):
        for found in loads.finditer(page.read_text("utf-8")):
            target = found[1] or found[2] or ""
            count += 1
            assert not re.match(r"(https?:)?//", target), (page.name, target)
    assert count > 100
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""url\(["']?(https?:)?//|@import""", sheet.read_text("utf-8"))


def test_each_page_has_its_text(site: Path) -> None:
    """Guides, reference, decisions and what lies beside them."""
    wanted = {
        "quickstart.html": "Five minutes of reading",
        "api/index.html": "Explains a fixed probe set at every validation",
        "api/judges.html": "Has a vision-language model score masked pictures",
        "benchmarks.html": "Red dots",
        "changelog.html": "Unreleased",
        "contributing.html": "The way through the house",
        "decisions/016-whether-maps-show-what-predictions-hang-on.html": "pointing game",
    }
    for name, words in wanted.items():
        assert words in (site / name).read_text("utf-8"), name
    decisions = {p.stem for p in (ROOT / "docs/decisions").glob("*.md")}
    assert decisions == {p.stem for p in (site / "decisions").glob("*.html")}
    assert "&gt;&gt;&gt; callback" in re.sub("<[^>]+>", "", (site / "api/index.html").read_text())


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """Strict means so: of links, anchors and references alike."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# A\n[b](nowhere.md) [c](#nowhere)\n")
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    validation = config[config.index("validation:") :]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: a\n{validation}")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "#nowhere" in done.stderr


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_finding(tmp_path: Path) -> None:
    """Cell by cell in a kernel of its own: the zeros alone are Correct-Low, the report is shown."""
    import nbformat
    from nbclient import NotebookClient

    path = ROOT / "docs/notebooks/digits.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept small
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "%pip install --quiet {SOURCE}" in first.source
    # Without the registry: here the package is installed.
    first.source = "import lightning_vlmxai"
    command = [sys.executable, "-c", RUN, str(tmp_path / "out.ipynb")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    assert NotebookClient  # installed
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-3000:]
    ran = json.loads((tmp_path / "out.ipynb").read_text("utf-8"))
    outputs = [out for cell in ran["cells"] for out in cell.get("outputs", [])]
    told = "".join("".join(out.get("text", "")) for out in outputs)
    low = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+) of +\d+ Correct-Low", told, re.M)}
    assert len(low) == 10
    assert low["zero"] >= 6
    assert sum(n for name, n in low.items() if name != "zero") <= 2 * low["zero"]
    shown = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert "Content-Security-Policy" in "".join(shown[-1])


RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read("in.ipynb", as_version=4)
NotebookClient(notebook, timeout=280, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""
