"""The judge's key, looked for in everything that a training run writes."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from helpers_judge import make_judge
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.judges import Budget
from openai_server import OpenAIServer, Seen, error, judge_by_light
from tiny import Separable, Squares, loader, make_trainer

KEY = "sk-verysecret-0123456789abcdef"


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.mark.filterwarnings("ignore:vlmxai.*unscored:UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb's own
def test_key_is_in_nothing_that_a_run_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Checkpoint, event files, W&B files, run folder and logs at DEBUG are free of the key."""
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")

    def answer(seen: Seen):
        # Now and then the server is a careless one.
        return error(500, KEY, f"Sent: {KEY}") if seen.number % 5 == 4 else judge_by_light(seen)

    loggers = [
        TensorBoardLogger(tmp_path, name="board"),
        WandbLogger(save_dir=tmp_path, offline=True),
        CSVLogger(tmp_path, name="csv"),
    ]
    with OpenAIServer(answer) as server, caplog.at_level(logging.DEBUG, ""):
        judge = make_judge(
            server.base_url,
            api_key_env="SOME_KEY",
            max_retries=0,
            timeout_s=30.0,
            budget=Budget(max_calls=1000),
        )
        callback = VLMExplainCallback(judge, probe_size=8)
        trainer = make_trainer(tmp_path, callback, logger=loggers, enable_checkpointing=True)
        trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
        sent = {seen.headers["authorization"] for seen in server.requests}
    loggers[1].experiment.finish()
    wandb.teardown()
    assert sent == {f"Bearer {KEY}"}
    files = {path: _read(path) for path in tmp_path.rglob("*") if path.is_file()}
    kinds = {path.suffix for path in files}
    assert {".ckpt", ".wandb", ".csv", ".jsonl", ".sqlite", ".png"} <= kinds
    assert any("tfevents" in path.name for path in files)
    assert [str(path) for path, data in files.items() if KEY[:12].encode() in data] == []
    messages = [record.getMessage() for record in caplog.records]
    assert any("chat/completions" in message for message in messages)
    assert [message for message in messages if KEY[:12] in message] == []
