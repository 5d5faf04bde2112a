"""Audits in projects that do what nobody thought of, and audits that are cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from audited import by_index, lines_of, run
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares

ROWS = 41


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which a process of its own writes."""
    monkeypatch.setattr(vlm_audit, "write_report", lambda _: None)


def pictures_of(folder: Path) -> dict[int, torch.Tensor]:
    """Return the pictures that an audit kept, `[3, H, W]` uint8, by sample."""
    return {
        line["probe"]: torch.from_numpy(
            np.array(Image.open(folder / "run" / line["picture"]).convert("RGB"))
        ).permute(2, 0, 1)
        for line in lines_of(folder)
    }


def test_pictures_that_only_the_data_set_has_are_those_of_their_rows(tmp_path: Path) -> None:
    """In every batch: the network's input tells nothing of them, so the data set is read again."""

    class Plain(Squares):
        def __getitem__(self, index: int) -> Any:
            return self.pictures[index], self.targets[index], self.masks[index]

    class OnDevice(Separable):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            shift = torch.tensor([0.41, 0.52, 0.63])[:, None, None]
            return (batch[0] - shift) * 4.5, *batch[1:]

    data = Plain(ROWS)
    run(tmp_path, ScriptedJudge(by_index), data=data, module=OnDevice())
    shown = pictures_of(tmp_path)
    assert sorted(shown) == list(range(ROWS))
    for index, picture in shown.items():
        assert torch.equal(picture, (data.pictures[index] * 255).round().byte())
