"""A page with what it refers to, in one file that can be sent."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from .pictures import is_picture
from .shortcuts import TRAINING_FILE, is_listed
from .text import in_folder


def write_zip(page: str, name: str, folders: Mapping[str, Path], out: Path) -> Path:
    """Write a zip file of a page and the pictures that it does not hold; return its path.

    Args:
        page: HTML of `make_report` or `make_comparison`.
        name: Of the page in the zip file.
        folders: Run folders by their addresses from the page; nothing outside them is read.
        out: Of the zip file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(part, "w") as file:
            file.writestr(name, page, zipfile.ZIP_DEFLATED)
            for source in _list_referred(page):
                address, _, path = source.partition("/")
                root = folders[address].resolve()
                if is_picture(root, path):
                    file.write(in_folder(root, path), source)  # compressed already
            for address, folder in folders.items():
                if is_listed(folder):
                    file.write(folder / TRAINING_FILE, f"{address}/{TRAINING_FILE}")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def _list_referred(page: str) -> list[str]:
    """Return the addresses of the pictures that a page does not hold."""
    (sources,) = re.findall(r'id="pictures">(.*?)</script>', page, re.DOTALL)
    return [unquote(source) for source in json.loads(sources) if not source.startswith("data:")]
