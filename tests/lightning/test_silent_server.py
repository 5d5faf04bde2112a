"""A judge's server that stops answering in the middle of a fit, and comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import LambdaCallback

from curves import read_lines
from helpers_judge import make_judge
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.judges import asking
from openai_server import OpenAIServer, judge_by_light
from tiny import Separable, Squares, loader, make_trainer


@pytest.mark.filterwarnings("ignore:vlmxai.*(unscored|different pictures):UserWarning")
def test_a_server_that_hangs_from_round_2_to_4_is_judged_with_from_round_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds 3 and 4 send one request each and end before their deadline; round 5 is judged."""
    hangs, leave = threading.Event(), threading.Event()
    sent: dict[int, int] = {}

    def begin(trainer, _module) -> None:
        if trainer.sanity_checking:
            return
        epoch = trainer.current_epoch
        sent[epoch] = len(server.requests)
        # Patient where an answer comes: a busy machine is slow.
        monkeypatch.setattr(asking, "GRACE_S", 0.2 if 2 <= epoch < 5 else 60.0)
        (hangs.set if 2 <= epoch < 5 else hangs.clear)()
        if epoch == 5:
            leave.set()

    with OpenAIServer(
        lambda seen: (hangs.is_set() and leave.wait(60)) or judge_by_light(seen)
    ) as server:
        judge = make_judge(server.base_url, timeout_s=3.0, max_retries=0, cache=False)
        watch = VLMExplainCallback(judge, probe_size=8, lag=0, deadline_s=120.0)
        starts = LambdaCallback(on_validation_start=begin)
        trainer = make_trainer(tmp_path, starts, watch, max_epochs=7)
        trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
        sent[7] = len(server.requests)
    rounds = read_lines(watch.run_dir / "rounds.jsonl")
    judged = [line["coverage"] for line in rounds]
    assert judged == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    assert [sent[epoch + 1] - sent[epoch] for epoch in (0, 1, 3, 4, 5, 6)] == [8, 8, 1, 1, 8, 8]
    assert [line["calls"] for line in rounds][3:5] == [1.0, 1.0]
