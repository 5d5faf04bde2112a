"""The code blocks of Markdown, and a way to run a page of them as its reader would."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the file that it is (title), and why it isn't run, if so."""

    language: str
    title: str
    text: str
    reason: str


def read_blocks(markdown: str) -> Iterator[Block]:
    r"""Yield the fenced blocks, in order.

    Example:
        >>> [b.language for b in read_blocks("```bash\nmake test\n```\n")]
        ['bash']
    """
    for found in _FENCE.finditer(markdown):
        language, _, rest = found["info"].partition(" ")
        title = re.search(r'title="(.+?)"', rest)
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        reason = found["reason"] or ""
        yield Block(language=language, title=title[1] if title else "", text=text, reason=reason)


class Reader:
    """Does what a page says, in the current folder.

    Args:
        names: What the page's Python blocks may use without making it.
        setenv: Sets an environment variable.
        vlmxai: The command, from arguments to an exit status.
        configure: Takes what a YAML block configures.
    """

    def __init__(
        self,
        names: dict[str, Any],
        *,
        setenv: Callable[[str, str], object],
        vlmxai: Callable[[list[str]], int],
        configure: Callable[[dict[str, Any]], object],
    ) -> None:
        self.names = names
        self._setenv = setenv
        self._vlmxai = vlmxai
        self._configure = configure

    def do(self, block: Block) -> None:
        """Run a block; a Python block with a title is a file, run where a command says so."""
        if block.language == "python" and block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, "block", "exec"), self.names)  # noqa: S102
        elif block.language == "yaml":
            self._configure(yaml.safe_load(block.text))
        elif block.language == "xml":
            ElementTree.fromstring(block.text)  # noqa: S314 - our own
        else:
            for line in block.text.replace("\\\n", " ").splitlines():
                self._command(shlex.split(line, comments=True))

    def _command(self, words: list[str]) -> None:
        if not words:
            return
        name, *rest = words
        if name == "export":
            for pair in rest:
                variable, _, value = pair.partition("=")
                if value != "...":  # a key, which the test has its own for
                    self._setenv(variable, value)
        elif name == "vlmxai":
            assert self._vlmxai(rest) in (0, 1), words  # 1: a judge or a run that fails a test
        elif name in ("python", ".venv/bin/python"):
            script = Path(rest[0])
            if script.parts[0] in ("examples", "tests"):  # tests of their own run these
                assert (ROOT / script).is_file(), words
            else:
                self.names |= runpy.run_path(str(script), run_name="__main__")
        elif name == "make":  # said, not done: tests would run themselves
            subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)  # noqa: S603, S607
        elif words[:2] == ["pip", "install"]:  # likewise; what is asked for has to exist
            project = (ROOT / "pyproject.toml").read_text("utf-8")
            extras = re.findall(r"\.\[(.+?)\]", " ".join(rest))
            assert "." in rest or extras, words
            assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
        else:
            raise AssertionError(f"No test runs {words}")
