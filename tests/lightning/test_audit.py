"""An audit: every row once, as if each had been explained and judged alone."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audited import ROWS, by_index, lines_of, run
from lightning_vlmxai import (
    ConfigurationError,
    Item,
    ReferenceMaskJudge,
    Verdict,
    VLMAuditCallback,
)
from lightning_vlmxai.callbacks import audit_run, vlm_audit
from lightning_vlmxai.callbacks.audit_queue import _Waiting
from lightning_vlmxai.callbacks.audit_run import AuditRun, _End
from lightning_vlmxai.calls import Call
from lightning_vlmxai.errors import ProbeError
from lightning_vlmxai.explain import Explainer, LiveModel
from lightning_vlmxai.judges import overlap_score
from lightning_vlmxai.probes import Normalization
from lightning_vlmxai.records import JudgeRequest, Probe
from lightning_vlmxai.rounds import Ranks, wilson_interval
from lightning_vlmxai.sinks import count_audit
from lightning_vlmxai.testing import ScriptedJudge
from tiny import MEAN, STD, Separable, Squares, make_trainer


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which a process of its own writes."""
    monkeypatch.setattr(vlm_audit, "write_report", lambda _: None)


def explain_alone(module: pl.LightningModule, data: Squares) -> list[Any]:
    """Return the explanation of each sample, explained one by one: the slow, literal way."""
    explainer = Explainer(class_names=data.classes, target_layer="network.1")
    undo = Normalization.of((MEAN, STD))
    assert undo is not None
    found = []
    for index in range(len(data)):
        image, label, mask = data[index]
        probe = Probe(
            index=index,
            call=Call.of_images(image[None]),
            pixels=undo.undo(image).clamp(0, 1),
            target=torch.tensor(label),
            reference_mask=mask,
        )
        found += explainer(LiveModel(module), [probe])
    return found


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_each_row_is_explained_and_judged_as_if_alone(tmp_path: Path, stage: str) -> None:
    """Score, quadrant, label, prediction, confidence and probabilities of every sample."""
    module, data = Separable(), Squares(ROWS)
    module.predict_step = lambda batch: module(batch[0])  # type: ignore[method-assign]
    callback, _ = run(tmp_path, ReferenceMaskJudge(), data=data, stage=stage, module=module)
    lines = lines_of(tmp_path, stage)
    assert [line["probe"] for line in lines] == list(range(ROWS))
    probabilities = np.fromfile(tmp_path / "run" / "probabilities.f32", "<f4").reshape(ROWS, 2)
    right = 0
    quadrants: Counter[str] = Counter()
    for line, e in zip(lines, explain_alone(module, data), strict=True):
        assert e.reference_mask is not None
        score = overlap_score(e.mask, e.reference_mask)
        right += e.is_correct
        quadrants[line["quadrant"]] += 1
        assert line["score"] == pytest.approx(score, abs=1e-6)
        assert (line["label"], line["prediction"]) == (e.label, e.prediction)
        assert line["confidence"] == pytest.approx(e.confidence, abs=1e-6)
        side = ("correct" if e.is_correct else "wrong") + ("_high" if score >= 2.5 else "_low")
        assert line["quadrant"] == side
        with torch.no_grad():
            softmax = module(data[line["probe"]][0][None]).softmax(dim=1)[0]
        assert probabilities[line["row"]] == pytest.approx(softmax.numpy(), abs=1e-6)
    figures = callback.metrics
    assert figures["vlmxai/accuracy"] == right / ROWS
    low = quadrants["correct_low"]
    assert figures["vlmxai/correct_low_rate"] == low / ROWS
    assert figures["vlmxai/correct_low_rate_upper"] == wilson_interval(low, ROWS).upper
    scores = [line["score"] for line in lines]
    assert figures["vlmxai/average_score"] == pytest.approx(np.mean(scores), abs=1e-12)


def test_what_the_trainer_returns_is_what_it_returned_without_an_audit(tmp_path: Path) -> None:
    """The user's own figures are the same, and the audit's stand beside them."""
    _, (with_audit,) = run(tmp_path, ScriptedJudge(by_index))
    trainer = make_trainer(tmp_path)
    (without,) = trainer.validate(Separable(), DataLoader(Squares(ROWS), batch_size=8))
    assert {k: v for k, v in with_audit.items() if "vlmxai" not in k} == without
    assert with_audit["vlmxai/coverage"] == 1.0


def test_no_more_rows_wait_than_may(tmp_path: Path) -> None:
    """The model waits for a judge that is slower, whatever the batches' size."""
    most, lock = [0], threading.Lock()

    class Slow(ScriptedJudge):
        async def judge(self, request: JudgeRequest) -> Verdict:
            verdict = await super().judge(request)
            with lock:
                most[0] = max(most[0], callback.progress.pending)
            return verdict

    judge = Slow(by_index, delay_s=0.002, concurrency=3)
    callback = VLMAuditCallback(judge, run_dir=tmp_path / "run", max_pending=10)
    make_trainer(tmp_path, callback).validate(
        Separable(), DataLoader(Squares(ROWS), batch_size=32), verbose=False
    )
    assert 0 < most[0] <= 10
    assert callback.progress.judged == ROWS


def test_data_without_labels_have_scores_and_no_quadrant(tmp_path: Path) -> None:
    """A prediction's rows may be pictures alone: nothing is made up about them."""
    pictures = [Squares(ROWS)[index][0] for index in range(ROWS)]
    module = Separable()
    module.predict_step = lambda batch: module(batch)  # type: ignore[method-assign]
    loader = DataLoader(pictures, batch_size=8)  # type: ignore[arg-type]
    callback, _ = run(
        tmp_path,
        ScriptedJudge(by_index),
        loader=loader,
        stage="predict",
        module=module,
        normalization=(MEAN, STD),
    )
    lines = lines_of(tmp_path, "predict")
    assert len(lines) == ROWS
    assert {line["quadrant"] for line in lines} == {line["label"] for line in lines} == {None}
    assert {line["is_correct"] for line in lines} == {None}
    assert "vlmxai/accuracy" not in callback.metrics
    assert not [name for name in callback.metrics if name.endswith("_rate")]
    scores = [index % 6 for index in range(ROWS)]
    assert callback.metrics["vlmxai/average_score"] == pytest.approx(np.mean(scores))


def test_pictures_are_kept_within_the_bound_and_spread(tmp_path: Path) -> None:
    """Most are of what is worth looking at, and of all of the data set."""
    data = Squares(600)
    run(tmp_path, ScriptedJudge(by_index), data=data, pictures=60)
    kept = [line for line in lines_of(tmp_path) if line["image"]]
    assert 20 < len(kept) <= 60
    for line in kept:
        for name in ("image", "saliency", "picture", "reference_mask"):
            assert (tmp_path / "run" / line[name]).is_file()
    count = Counter(line["quadrant"] for line in kept)
    assert count["correct_low"] > count["correct_high"]
    assert max(line["probe"] for line in kept) > 500
    run(tmp_path / "none", ScriptedJudge(by_index), data=data, pictures=0)
    assert not (tmp_path / "none" / "run" / "images").exists()


def test_groups_that_rows_name_are_kept(tmp_path: Path) -> None:
    """Fields of a mapping, as text; those that a row lacks are left out."""

    class Hospitals(Squares):
        def __getitem__(self, index: int) -> Any:
            image, label, mask = super().__getitem__(index)
            return {"image": image, "label": label, "mask": mask, "ward": index % 3, "by": "Ada"}

    class OfMappings(Separable):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch["image"])

    run(tmp_path, data=Hospitals(ROWS), module=OfMappings(), groups=["ward", "by", "camera"])
    assert [line["groups"] for line in lines_of(tmp_path)] == [
        {"ward": str(index % 3), "by": "Ada"} for index in range(ROWS)
    ]


def test_a_row_that_can_not_be_read_as_the_first_is_an_error(tmp_path: Path) -> None:
    """A mask whose values mean something else than those before is not guessed at."""

    class Trimaps(Squares):
        def __getitem__(self, index: int) -> Any:
            image, label, mask = super().__getitem__(index)
            return image, label, mask.long() if index < 80 else mask.long() + 1 + (index % 2)

    with pytest.raises(ProbeError, match="reference_mask"):
        run(tmp_path, data=Trimaps(ROWS))
    assert count_audit(tmp_path / "run", "validate").judged >= 64


def test_a_network_that_answers_otherwise_when_asked_again_is_an_error(tmp_path: Path) -> None:
    """What is explained must be what the stage predicted, for every row, not only the first."""

    class Turns(Separable):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images)
            return logits

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            images = batch[0] if batch_idx < 10 else batch[0].clone()
            self(images)
            if batch_idx >= 10:
                images.copy_(images.flip(0))

    with pytest.raises(Exception, match="explained predictions"):
        run(
            tmp_path,
            ScriptedJudge(by_index),
            module=Turns(),
            unpack=lambda row: Item(image=row[0], target=row[1]),
        )


def test_in_a_fit_it_does_nothing_and_says_so(tmp_path: Path) -> None:
    """A fit is `VLMExplainCallback`'s."""
    callback = VLMAuditCallback(ScriptedJudge(by_index), run_dir=tmp_path / "run")
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    loader = DataLoader(Squares(16), batch_size=8)
    with pytest.warns(UserWarning, match="VLMExplainCallback watches that"):
        trainer.fit(Separable(), loader, loader)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 6.0}, {"pictures": -1}, {"max_pending": 0}, {"groups": "ward"}],
)
def test_a_value_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    """With what to pass."""
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=f"Expected `{name}`.*Pass {name}="):
        VLMAuditCallback(**wrong)


def test_a_verdict_that_comes_at_any_moment_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a row is judged may change between two looks: each second look says so first."""
    looks: Counter[int] = Counter()
    truly = _Waiting.is_done.fget  # type: ignore[attr-defined]

    def late(self: _Waiting) -> bool:
        looks[id(self)] += 1
        return bool(truly(self)) and (looks[id(self)] > 1 or id(self) % 3 == 0)

    monkeypatch.setattr(_Waiting, "is_done", property(late))
    run(tmp_path, ScriptedJudge(by_index))
    assert [line["probe"] for line in lines_of(tmp_path)] == list(range(ROWS))


def test_ranks_whose_files_are_on_other_machines_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of an audit is no audit."""
    alone = Ranks.gather

    def gather(self: Ranks, own: Any) -> list[Any]:
        told = alone(self, own)
        return [*told, replace(own, rows=5)] if isinstance(own, _End) else told

    monkeypatch.setattr(Ranks, "gather", gather)
    with pytest.raises(ConfigurationError, match=r"no samples-1\.jsonl.*vlmxai report"):
        run(tmp_path, ScriptedJudge(by_index))
    assert len(lines_of(tmp_path)) == ROWS


def test_large_answers_are_not_held_until_many_rows_were_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dense network's answers to 64 rows may take gigabytes: then fewer rows are looked at."""
    held: list[int] = []
    settle = AuditRun._settle

    def note(self: AuditRun, live: LiveModel) -> None:
        held.append(sum(passed.size for passed in self._held))
        settle(self, live)

    monkeypatch.setattr(AuditRun, "_settle", note)
    run(tmp_path / "small", ScriptedJudge(by_index))
    monkeypatch.setattr(audit_run, "LOOK_BYTES", 8 * 2 * 4 * 3)  # of three batches
    run(tmp_path / "large", ScriptedJudge(by_index))
    assert held == [64, 24]
    assert lines_of(tmp_path / "small") == lines_of(tmp_path / "large")
