"""What `make docs` does beyond the Markdown of this folder.

BENCHMARKS.md, CHANGELOG.md and CONTRIBUTING.md become pages, links to them are led there, and the
decisions are listed as they lie in their folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
BORROWED = {
    "benchmarks.md": "BENCHMARKS.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}


def on_config(config: Any) -> Any:
    """List the decisions where the navigation has their folder's name."""
    decisions = sorted(p.name for p in (ROOT / "docs" / "decisions").glob("*.md"))
    for section in config.nav:
        for title, pages in section.items() if isinstance(section, dict) else ():
            section[title] = [
                {"Decisions": [f"decisions/{name}" for name in decisions]}
                if page == "decisions/"
                else page
                for page in pages
            ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie beside this folder."""
    for page, name in BORROWED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that hold in the repository to where they hold in the site."""
    if page.file.src_uri in BORROWED:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    for target, name in BORROWED.items():
        markdown = re.sub(rf"\]\((?:\.\./)?((?:\.\./)*){name}", rf"](\1{target}", markdown)
    return markdown


class Examples(griffe.Extension):
    """Shows `Example:` of our docstrings as code, and `Source:` as a note."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of whatever was read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
