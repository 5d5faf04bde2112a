"""The examples, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from PIL import Image

from digits_red_dot import DigitsData, DigitsModule
from lightning_vlmxai import VLMExplainCallback
from openai_server import OpenAIServer, Reply, Seen, verdict

ROOT = Path(__file__).parents[2]


def run(*command: str, **environment: str) -> str:
    """Return what a command prints; fail with it if the command fails."""
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(  # noqa: S603 - our own scripts
        [sys.executable, *command],
        cwd=ROOT,
        # As many threads as a user's run has: the figures depend on it in the last digits.
        env={**own, "OMP_WAIT_POLICY": "passive", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_the_main_job_finds_the_shortcut_that_accuracy_cannot_see(tmp_path: Path) -> None:
    """Both runs are accurate; the dotted zeros are Correct-Low; the gate ends that run alone."""
    printed = run("examples/digits_red_dot.py", "--root", str(tmp_path))
    assert re.search(r"Gate of clean: +did not fire", printed)
    assert re.search(r"Gate of red_dot: +fired in epoch \d; the run ended after 4 epochs", printed)
    rounds = {
        n: read_lines(*tmp_path.glob(f"{n}/*/vlmxai/rounds.jsonl")) for n in ("clean", "red_dot")
    }
    assert len(rounds["clean"]) == 6
    assert len(rounds["red_dot"]) < 6
    last = {name: closed[-1] for name, closed in rounds.items()}
    assert last["red_dot"]["class/zero/correct_low_rate"] >= 0.6
    assert last["clean"]["class/zero/correct_low_rate"] <= 0.3
    for name, closed in last.items():
        assert closed["judged"] == closed["probes"] == 200
        samples = read_lines(*tmp_path.glob(f"{name}/*/vlmxai/samples.jsonl"))
        final = [s for s in samples if s["round"] == closed["number"]]
        assert sum(s["is_correct"] for s in final) / len(final) >= 0.9
    assert (tmp_path / "red_dot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_vlm_judges_the_same_job_and_gets_every_masked_picture(tmp_path: Path) -> None:
    """A server on loopback decodes each picture; what it saw is what the run folder shows."""

    def answer(seen: Seen) -> Reply:
        (picture,) = seen.pictures
        return verdict(4 if picture.size == (64, 64) else 1)

    with OpenAIServer(answer) as server:
        run(
            *("examples/digits_red_dot.py", "--judge", "vlm", "--model", "loopback"),
            *("--epochs", "1", "--probes", "20", "--root", str(tmp_path)),
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY="sk-planted-key",
        )
    runs = ("clean", "red_dot")
    samples = {n: read_lines(*tmp_path.glob(f"{n}/*/vlmxai/samples.jsonl")) for n in runs}
    assert [len(s) for s in samples.values()] == [20, 20]
    assert len(server.requests) == 2 * (1 + 20)
    for name in runs:
        assert all(s["score"] == 4 and s["tokens"] > 0 for s in samples[name])
        (folder,) = tmp_path.glob(f"{name}/*/vlmxai")
        shown = {Image.open(folder / s["image"]).tobytes() for s in samples[name]}
        assert shown <= {seen.pictures[0].convert("RGB").tobytes() for seen in server.requests}
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"sk-planted-key" not in path.read_bytes(), path


@pytest.mark.slow
def test_the_digits_train_to_the_same_bits_with_and_without_the_callback(tmp_path: Path) -> None:
    """Final weights, buffers and optimizer state are equal to the last bit."""
    ends = []
    for callbacks in ([], [VLMExplainCallback(probe_size=40, run_dir=tmp_path)]):
        pl.seed_everything(0, workers=True, verbose=False)
        module = DigitsModule()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=2,
            limit_train_batches=30,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            deterministic=True,
        )
        trainer.fit(module, datamodule=DigitsData(red_dot=True))
        states = trainer.optimizers[0].state.values()
        moments = [s[key] for s in states for key in ("exp_avg", "exp_avg_sq")]
        ends.append([*module.state_dict().values(), *moments, torch.rand(1)])
    assert len(read_lines(tmp_path / "samples.jsonl")) == 2 * 40
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.slow
def test_the_configuration_runs_under_lightnings_command_line(tmp_path: Path) -> None:
    """The YAML builds both callbacks and the judge by class path, and a round is written."""
    run(
        *("examples/digits_cli.py", "fit", "--config", "configs/digits.yaml"),
        *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "20"),
        *("--trainer.logger.init_args.save_dir", str(tmp_path)),
    )
    (rounds,) = tmp_path.rglob("rounds.jsonl")
    (closed,) = read_lines(rounds)
    assert closed["probes"] == 200
    assert any(key.startswith("class/zero/") for key in closed)


PETS = Path(os.environ.get("VLMXAI_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not PETS.is_dir(), reason="needs real photos and weights, which aren't shipped")
def test_pets_runs_on_real_photos(tmp_path: Path) -> None:
    """One short epoch of each run on photographs gives a table and two run folders."""
    printed = run(
        *("examples/pets_red_dot.py", "--root", str(PETS / "pets"), "--epochs", "1"),
        *("--weights", str(PETS / "weights/mobilenet_v2_coral_tf2_fp16.pth"), "--tf-padding"),
        *("--probes", "12", "--runs", str(tmp_path)),
    )
    assert "Gate of clean:" in printed
    for name in ("clean", "red_dot"):
        (samples,) = tmp_path.glob(f"{name}/*/vlmxai/samples.jsonl")
        assert len(read_lines(samples)) == 12


@pytest.mark.slow
def test_captions_are_told_by_what_they_name_in_both_runs(tmp_path: Path) -> None:
    """A hardly trained CLIP of each kind: all probes are counted, and each run has a report."""
    small = ["--epochs", "1", "--pictures", "256", "--probes", "24", "--root", str(tmp_path)]
    printed = run("examples/clip_captions.py", *small)
    for name in ("clean", "watermark"):
        told = re.findall(rf"^{name} .* (\d+) of +(\d+) right, of these", printed, re.MULTILINE)
        assert sum(int(of) for _, of in told) == 24, printed
        assert len(list(tmp_path.glob(f"{name}/*/vlmxai/report.html"))) == 1
