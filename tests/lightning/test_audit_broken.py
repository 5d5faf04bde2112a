"""Audits in projects that do what nobody thought of, and audits that are cut short."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, Subset

from audited import Numbered, Stop, by_index, light, lines_of, run
from lightning_vlmxai import ConfigurationError, Item, Verdict, VLMAuditCallback, VLMExplainCallback
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.errors import AttributionError, ProbeError
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.report import read_run
from lightning_vlmxai.testing import ScriptedJudge
from tiny import MEAN, STD, Separable, Squares, make_trainer

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


def test_a_stream_has_its_rows_audited_once(tmp_path: Path) -> None:
    """How many will come is not known, and what they are is told by their pictures."""
    data = Squares(ROWS)

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([*map(data.__getitem__, range(ROWS)), *map(data.__getitem__, range(5))])

    callback, _ = run(
        tmp_path,
        ScriptedJudge(light),
        loader=DataLoader(Stream(), batch_size=8),
        normalization=(MEAN, STD),
    )
    assert callback.progress.total is None
    assert (callback.progress.judged, callback.progress.repeated) == (ROWS, 5)
    found = lines_of(tmp_path)
    assert Counter(line["label"] for line in found) == Counter(data.targets)
    run(tmp_path / "list", ScriptedJudge(light), data=data)
    scores = [sorted(line["score"] for line in lines_of(f)) for f in (tmp_path, tmp_path / "list")]
    assert scores[0] == scores[1]


class Named(Squares):
    """Lists its files."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.samples = [(f"{n}.png", label) for n, label in enumerate(self.targets)]


@pytest.mark.parametrize("rows", [8, 40, 41, 64, 65, 101])
def test_every_row_has_the_name_that_the_data_set_lists(tmp_path: Path, rows: int) -> None:
    """Of a few rows, and where those that are looked at first are all."""
    run(tmp_path, ScriptedJudge(by_index), data=Named(rows))
    assert [line["file"] for line in lines_of(tmp_path)] == [f"{n}.png" for n in range(rows)]


def test_a_batch_sampler_of_other_indices_names_no_sample_by_its_place(tmp_path: Path) -> None:
    """Torch's own may deal out any list of indices, while the loader's sampler counts from 0."""
    order = list(range(ROWS))[::2]  # all of one class: no label says that names are wrong
    sampler = BatchSampler(order, 8, drop_last=False)
    loader: DataLoader[Any] = DataLoader(Named(ROWS), batch_sampler=sampler)
    callback, _ = run(tmp_path, ScriptedJudge(light), loader=loader)
    assert callback.progress.total == callback.progress.judged == len(order)
    assert {line["file"] for line in lines_of(tmp_path)} == {None}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"] == "pixels"
    plain = BatchSampler(SequentialSampler(Named(ROWS)), 8, drop_last=False)
    loader = DataLoader(Named(ROWS), batch_sampler=plain)
    run(tmp_path / "plain", ScriptedJudge(light), loader=loader)
    found = lines_of(tmp_path / "plain")
    assert [line["file"] for line in found] == [f"{n}.png" for n in range(ROWS)]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_signal_at_the_end_makes_no_finished_audit_of_a_part(
    tmp_path: Path, is_waiting: bool
) -> None:
    """Lightning looks for SIGTERM between batches only: after the last one nobody else does."""

    class Terminated(pl.Callback):
        def setup(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            self.signals = trainer._signal_connector

        def on_validation_batch_end(self, *args: Any, **_: Any) -> None:
            self.signals.received_sigterm |= args[4] == 5 and not is_waiting

    def judged(request: JudgeRequest) -> Verdict:
        terminated.signals.received_sigterm |= request.probe_index == 20 and is_waiting
        return by_index(request)

    terminated = Terminated()
    judge = ScriptedJudge(judged, concurrency=1)
    with pytest.raises(SIGTERMException):
        run(tmp_path, judge, data=Squares(ROWS), callbacks=(terminated,))
    assert len(lines_of(tmp_path)) < ROWS
    assert not (tmp_path / "run" / "rounds.jsonl").exists()
    callback, _ = run(tmp_path, ScriptedJudge(by_index), data=Squares(ROWS))
    assert [line["probe"] for line in lines_of(tmp_path)] == list(range(ROWS))
    assert callback.metrics["vlmxai/coverage"] == 1.0


@pytest.mark.parametrize("is_first", [False, True])
def test_beside_an_audit_the_other_callback_leaves_validations_alone(
    tmp_path: Path, is_first: bool
) -> None:
    """What is logged is the audit's, of every row; a fit of the same trainer is watched."""
    audit = VLMAuditCallback(ScriptedJudge(by_index), run_dir=tmp_path / "run")
    watch = VLMExplainCallback(
        ScriptedJudge([Verdict.scored(1)]), probe_size=4, lag=0, run_dir=tmp_path / "fit"
    )
    both = (audit, watch) if is_first else (watch, audit)
    trainer, module = make_trainer(tmp_path, *both, max_epochs=1), Separable()
    loader = DataLoader(Squares(ROWS), batch_size=8)
    for stage in ("validate", "test"):
        (told,) = getattr(trainer, stage)(module, loader, verbose=False)
        assert len(lines_of(tmp_path, stage)) == ROWS
        assert told["vlmxai/coverage"] == 1.0
        assert told["vlmxai/average_score"] == pytest.approx(sum(n % 6 for n in range(ROWS)) / ROWS)
        assert "forward" not in vars(module)
    assert watch.latest_round is None
    with pytest.warns(UserWarning, match="VLMExplainCallback watches that"):
        trainer.fit(module, loader, loader)
    assert watch.latest_round is not None
    assert (watch.latest_round.number, len(watch.latest_round.samples)) == (0, 4)
    assert trainer.callback_metrics["vlmxai/average_score"] == 1.0


def test_two_audits_at_once_are_refused(tmp_path: Path) -> None:
    """Lightning would log the mean of two figures."""
    other = VLMAuditCallback(ScriptedJudge(by_index), run_dir=tmp_path / "other")
    with pytest.raises(ConfigurationError, match=r"one VLMAuditCallback, got 2\. Audit once"):
        run(tmp_path, ScriptedJudge(by_index), callbacks=(other,))


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path: Path) -> None:
    """Before anything is computed, and in a sentence."""
    (tmp_path / "run").write_text("a file of somebody's")
    with pytest.raises(ConfigurationError, match=r"can be written to, got .*run \(.*Pass another"):
        run(tmp_path, ScriptedJudge(by_index))


@pytest.mark.parametrize("run_dir", ["run", None])
def test_a_trial_run_leaves_nothing_behind(tmp_path: Path, run_dir: str | None) -> None:
    """Nor touches what an audit before it left: Lightning's `fast_dev_run` is for that."""
    run(tmp_path, ScriptedJudge(by_index), data=Squares(ROWS))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given = None if run_dir is None else tmp_path / run_dir
    judge = ScriptedJudge([Verdict.scored(0)])
    callback = VLMAuditCallback(judge, run_dir=given, threshold=1.0)
    trainer = make_trainer(tmp_path, callback, fast_dev_run=3)
    trainer.validate(Separable(), DataLoader(Squares(ROWS), batch_size=4), verbose=False)
    assert (len(judge.requests), callback.metrics["vlmxai/coverage"]) == (12, 1.0)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    assert callback._trial is None


def test_an_audit_and_a_fit_do_not_share_a_folder(tmp_path: Path) -> None:
    """Each would overwrite what says how the other was made."""
    watch = VLMExplainCallback(ScriptedJudge(by_index), probe_size=4, run_dir=tmp_path / "run")
    loader = DataLoader(Squares(ROWS), batch_size=8)
    run(tmp_path, ScriptedJudge(by_index), data=Squares(ROWS))
    before = (tmp_path / "run" / "run.json").read_bytes()
    trainer = make_trainer(tmp_path, watch)
    with pytest.raises(ConfigurationError, match=r"holds an audit\. Pass another.*run-2"):
        trainer.validate(Separable(), loader, verbose=False)
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    other = tmp_path / "other"
    watch = VLMExplainCallback(ScriptedJudge(by_index), probe_size=4, run_dir=other / "run")
    make_trainer(other, watch).validate(Separable(), loader, verbose=False)
    with pytest.raises(ConfigurationError, match=r"holds a fit\. Pass another.*run-2"):
        run(other, ScriptedJudge(by_index))


@pytest.mark.parametrize("is_late", [False, True])
def test_rows_left_out_on_the_way_to_the_step_give_no_row_anothers_index(
    tmp_path: Path, is_late: bool
) -> None:
    """By pictures where it begins early; later it would be by two things, and is refused."""

    class Filters(Separable):
        seen = 0

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            self.seen += 1
            keeps = torch.arange(len(batch[0])) > 0
            return [part[keeps] for part in batch] if self.seen > 9 * is_late else batch

    loader = DataLoader(Numbered(101), batch_size=8)
    if not is_late:
        callback, _ = run(tmp_path, ScriptedJudge(light), loader=loader, module=Filters())
        assert callback.progress.judged == 101 - 13
        assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"] == "pixels"
        return
    with pytest.raises(ProbeError, match=r"Expected `batch` .*`unpack`"):
        run(tmp_path, ScriptedJudge(light), loader=loader, module=Filters())
    run(
        tmp_path / "own",
        ScriptedJudge(by_index),
        loader=loader,
        module=Filters(),
        unpack=lambda row: Item(image=row[0], target=row[1], index=int(row[3])),
    )
    kept = [n for n in range(101) if n < 72 or n % 8]
    assert [line["probe"] for line in lines_of(tmp_path / "own")] == kept


def test_a_network_that_answers_not_a_number_is_told_from_one_that_answers_otherwise(
    tmp_path: Path,
) -> None:
    """At the first such row, however late; what was judged before stays."""

    class Overflows(Separable):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images)
            return logits.masked_fill(logits > 4, float("nan"))

    data = Squares(101)
    data.pictures[81] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    with pytest.raises(AttributionError, match=r"got NaN for 1 of 8 rows, such as row 81\. Look"):
        run(tmp_path, ScriptedJudge(by_index), data=data, module=Overflows())
    assert [line["probe"] for line in lines_of(tmp_path)] == list(range(80))


def test_an_audit_of_more_data_that_was_cut_short_is_not_told_as_finished(tmp_path: Path) -> None:
    """A first part had its end; what came after it has none."""
    run(tmp_path, ScriptedJudge(by_index), data=Subset(Squares(101), range(24)))
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, ScriptedJudge(by_index), data=Squares(101), callbacks=(Stop(10),))
    count = len(lines_of(tmp_path))
    assert 24 < count < 101
    told = f"not come to its end: the figures are those of the {count} samples"
    assert [line for line in read_run(tmp_path / "run").notices if told in line]
    run(tmp_path, ScriptedJudge(by_index), data=Squares(101))
    assert not [line for line in read_run(tmp_path / "run").notices if "its end" in line]


def test_a_step_may_take_parts_out_of_its_batch(tmp_path: Path) -> None:
    """As `batch.pop("image")` does."""

    class Mappings(Squares):
        def __getitem__(self, index: int) -> Any:
            image, label, mask = super().__getitem__(index)
            return {"image": image, "label": label, "mask": mask, "path": f"{index}.png"}

    class Pops(Separable):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch.pop("image"))
            batch.clear()

    run(tmp_path, ScriptedJudge(by_index), data=Mappings(ROWS), module=Pops())
    found = [(line["file"], line["label"]) for line in lines_of(tmp_path)]
    assert found == [(f"{n}.png", n % 2) for n in range(ROWS)]


def test_a_loop_without_a_batch_is_told(tmp_path: Path) -> None:
    """Lightning leaves it out without a word; an audit that did nothing is no finished one."""
    callback = VLMAuditCallback(ScriptedJudge(by_index), run_dir=tmp_path / "run")
    trainer = make_trainer(tmp_path, callback, limit_val_batches=0)
    with pytest.warns(UserWarning, match="had no batch, so nothing was audited"):
        trainer.validate(Separable(), DataLoader(Squares(8), batch_size=4))
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_a_loader_that_is_not_there_is_named_as_the_argument_is(tmp_path: Path) -> None:
    """With what to pass."""
    with pytest.raises(ConfigurationError, match=r"Expected `loader`.*Pass `loader=0`"):
        make_trainer(tmp_path, VLMAuditCallback(loader=3, run_dir=tmp_path / "run")).validate(
            Separable(), DataLoader(Squares(8), batch_size=4)
        )
