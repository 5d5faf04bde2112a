"""Every code block of README and guides is run, as its reader would."""

from __future__ import annotations

import re
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torchvision.models
from fences import ROOT, Reader, read_blocks
from jsonargparse import ArgumentParser
from PIL import Image
from torchvision.models import mobilenet_v3_small
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from data_sets import write_coco, write_pets, write_voc
from label_folders import write_audit
from lightning_vlmxai import Budget, VLMExplainCallback, VLMJudge, cli
from openai_server import OpenAIServer
from run_folders import write_run
from tiny import Squares, TinyModule, loader

PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
LANGUAGES = {"python", "bash", "yaml", "xml", "text"}
NOT_RUN = 1
"""Blocks that say why they are not run, in all."""
SLOW = {"docs/auditing-a-data-set.md", "docs/trusting-a-judge.md"}


def test_each_block_names_a_language_and_few_are_not_run() -> None:
    """Only text is never run, and what else is not says so beside it."""
    blocks = [block for page in PAGES for block in read_blocks((ROOT / page).read_text("utf-8"))]
    assert {block.language for block in blocks} <= LANGUAGES
    assert sum(bool(block.reason) for block in blocks) == NOT_RUN
    fences = [
        re.findall(r"^ *```", (ROOT / page).read_text("utf-8"), re.MULTILINE) for page in PAGES
    ]
    assert 2 * len(blocks) == sum(map(len, fences))  # none is overlooked


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder of a reader: pictures, masks, weights, runs, `my_data.py`."""
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(10):
            pixels = drawn.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(tmp_path / f"pictures/{name}/{i}.png")
        (tmp_path / "masks" / name).mkdir(parents=True)
        for i in range(10):
            mask = Image.fromarray(np.eye(64, dtype=np.uint8) * 255)
            mask.save(tmp_path / f"masks/{name}/{i}.png")
    write_pets(tmp_path / "data")
    write_voc(tmp_path / "data")
    write_coco(tmp_path / "data")
    L.seed_everything(0, verbose=False)
    states = {
        "mobilenet_v3_small": mobilenet_v3_small().state_dict(),
        "lraspp_mobilenet_v3_large": lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None
        ).state_dict(),
    }
    api = sys.modules[torchvision.models.WeightsEnum.__module__]
    monkeypatch.setattr(
        api, "load_state_dict_from_url", lambda url, **_: states[Path(url).name.rsplit("-", 1)[0]]
    )
    data = types.ModuleType("my_data")
    squares = Squares(40)
    rows = [
        ((squares.pictures[i] * 255).byte(), ("red", "blue")[squares.targets[i]], squares.masks[i])
        for i in range(len(squares))
    ]
    vars(data)["validation_set"] = lambda: rows
    monkeypatch.setitem(sys.modules, "my_data", data)
    rows_of_groups = [f"{probe},{('St. Anne', 'St. John')[probe % 2]}" for probe in range(0, 36, 3)]
    (tmp_path / "metadata.csv").write_text("\n".join(["sample,hospital", *rows_of_groups]))
    (tmp_path / "results.jsonl").touch()  # a batch that has just been sent
    monkeypatch.setenv("WANDB_MODE", "offline")
    for variable in ("OPENAI", "GEMINI", "AZURE_OPENAI", "OPENROUTER", "ANTHROPIC", "LITELLM"):
        monkeypatch.setenv(f"{variable}_API_KEY", "a-key")
    return tmp_path


class Pets(Squares):
    """Squares that go by the names of a reader's classes."""

    classes = ("cat", "dog")


class Data(L.LightningDataModule):
    """A reader's `data`."""

    def train_dataloader(self) -> Any:
        return loader(Pets())

    def val_dataloader(self) -> Any:
        return loader(Pets())


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
        for page in PAGES
        if "```" in (ROOT / page).read_text("utf-8")
    ],
)
def test_a_page_does_what_it_says(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order, in one folder, with the judge on loopback."""
    blocks = [b for b in read_blocks((ROOT / page).read_text("utf-8")) if not b.reason]
    trains = any(b.title for b in blocks)  # then its runs are those of the page itself
    for number in () if trains else (0, 1):
        write_run(folder / f"lightning_logs/version_{number}/vlmxai")
    if page.endswith("finding-wrong-labels.md"):
        write_audit(folder / "vlmxai-audit")
        (folder / "label-marks.csv").write_text("file,mark\na.png,wrong\nb.png,right\n")

    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)

        def vlmxai(words: list[str]) -> int:
            words = words[: words.index(">")] if ">" in words else words
            if "--base-url" in words:
                words[words.index("--base-url") + 1] = server.base_url
            if words[0] == "agree":  # takes people's ratings: only whether it can be called so
                cli._make_parser().parse_args(words)
                return 0
            # The names of a reader's run and class, for those that are here.
            here = {"RUN": str(folder / "lightning_logs/version_0"), "zero": "cat"}
            return cli.main([here.get(word, word) for word in words])

        def configure(config: dict[str, Any]) -> None:
            parser = ArgumentParser()
            parser.add_class_arguments(L.Trainer, "trainer")
            made = parser.instantiate_classes(parser.parse_object(config))
            names = [type(c).__name__ for c in made.trainer.callbacks]
            assert names[:2] == [
                one["class_path"].rsplit(".", 1)[1] for one in config["trainer"]["callbacks"]
            ]

        judge = VLMJudge("gpt-4o-mini", base_url=server.base_url)
        names = {
            "__name__": "page",
            "L": L,
            "VLMJudge": VLMJudge,
            "VLMExplainCallback": VLMExplainCallback,
            "Budget": Budget,
            "judge": judge,
            "model": TinyModule(),
            "data": Data(),
            "explain": VLMExplainCallback(judge),
            "gate": L.Callback(),
            "QuadrantStopping": sys.modules["lightning_vlmxai"].QuadrantStopping,
        }
        reader = Reader(names, setenv=monkeypatch.setenv, vlmxai=vlmxai, configure=configure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a page's own code is warned of
            for block in blocks:
                if block.language != "text":
                    reader.do(block)
        asked = len(server.requests)
    if page.endswith("finding-wrong-labels.md"):
        assert reader.names["wrong"] == ["a.png"]
        assert (folder / "wrong-high.csv").is_file()
    if page.endswith("quickstart.md"):
        samples = (folder / "lightning_logs/version_0/vlmxai/samples.jsonl").read_text("utf-8")
        assert len(samples.splitlines()) == 3 * 4  # four probes in three rounds
        assert 1 < asked <= 1 + 3 * 4  # the rehearsal; equal pictures are asked about once
        assert (folder / "lightning_logs/version_0/vlmxai/report.html").is_file()
        assert "Look closer: " in capsys.readouterr().out


def test_an_overlooked_command_is_an_error() -> None:
    """What the reader doesn't know how to do is not passed over."""
    reader = Reader({}, setenv=print, vlmxai=len, configure=print)
    (block,) = read_blocks("```bash\ncurl example.org\n```\n")
    with pytest.raises(AssertionError, match="No test runs"):
        reader.do(block)


def test_the_command_is_the_one_that_is_installed() -> None:
    """`vlmxai` is what these tests call."""
    assert 'vlmxai = "lightning_vlmxai.cli:main"' in (ROOT / "pyproject.toml").read_text("utf-8")
