"""The W&B sink, in offline mode."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.quadrants import DRIFTS, ROUND_METRICS
from tiny import Separable, Squares, loader, make_trainer

wandb = pytest.importorskip("wandb", reason="wandb is an extra")
internal = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is an extra")
BLOCK = 32 * 1024


def read_history(path: Path) -> list[dict[str, str]]:
    """Return the history rows of a .wandb file: a 7-byte header, then LevelDB's log format."""
    data = path.read_bytes()
    rows, position, whole = [], 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # the rest of a block that can't hold a header is padding
            position += BLOCK - position % BLOCK
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or last part
            record = internal.Record.FromString(whole)
            whole = b""
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or ".".join(i.nested_key): i.value_json for i in items})
    return rows


def test_an_offline_run_holds_every_metric_pictures_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round's figures stand at the round's own step, with captioned pictures and a table."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    callback = VLMExplainCallback(probe_size=8)
    trainer = make_trainer(tmp_path, callback, logger=logger, max_epochs=3)
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
    logger.experiment.finish()
    wandb.teardown()  # ends the process that writes the file
    (run,) = tmp_path.rglob("*.wandb")
    rows = read_history(run)
    for name in ROUND_METRICS:
        steps = [r["trainer/global_step"] for r in rows if f"vlmxai/{name}" in r]
        expected = ["6", "9"] if name in DRIFTS else ["3", "6", "9"]
        assert steps == expected, name
    coverage = [float(r["vlmxai/coverage"]) for r in rows if "vlmxai/coverage" in r]
    assert coverage[-1] == callback.latest_round.metrics["coverage"]
    keys = {key for row in rows for key in row}
    assert any(key.startswith("vlmxai/samples/") for key in keys)
    assert any(key.startswith("vlmxai/table") for key in keys)
    assert len(list(tmp_path.rglob("vlmxai/samples/*.png"))) >= 3
