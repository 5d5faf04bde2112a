"""The judge's thread ends with the trainer that it serves, however that ends."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from helpers_judge import make_judge, make_request
from lightning_vlmxai.judges.worker import JudgeWorker
from openai_server import OpenAIServer, verdict


class Model(LightningModule):
    """Ends its second step as it is told to."""

    def __init__(self, ending: type[BaseException] | None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.ending = ending

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return a loss, or raise."""
        if batch_idx == 1 and self.ending is not None:
            raise self.ending
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        """Return any optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Judges(Callback):
    """Has calls under way all the time, and closes where a callback can."""

    def __init__(self, worker: JudgeWorker) -> None:
        self.worker = worker

    def on_train_batch_start(self, *args: Any) -> None:
        """Submit."""
        self.worker.submit([make_request(i) for i in range(4)])

    def on_exception(self, *args: Any) -> None:
        """Close."""
        self.worker.close()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close."""
        self.worker.close()


@pytest.mark.parametrize("ending", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_no_thread_outlives_the_trainer(ending, tmp_path):
    """On success, exception and Ctrl-C alike, with calls under way, no judge's thread is left."""
    before = set(threading.enumerate())
    with OpenAIServer(lambda _: verdict(3)) as server:
        server.answer = lambda _: server.closing.wait(60) or verdict(3)
        worker = JudgeWorker(make_judge(server.base_url, timeout_s=60.0, call_timeout_s=60.0))
        trainer = Trainer(
            max_steps=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Judges(worker)],
            default_root_dir=tmp_path,
        )
        data = DataLoader(torch.ones(4, 1))
        if ending is None:
            trainer.fit(Model(ending), data)
        else:
            with pytest.raises((ending, SystemExit)):
                trainer.fit(Model(ending), data)
        left = [thread.name for thread in set(threading.enumerate()) - before]
        assert not [name for name in left if name.startswith("vlmxai")]
        assert worker.pending == 0
    assert set(threading.enumerate()) <= before
