"""An audit that was cut short goes on: no sample twice, none missing, no answer paid again."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from audited import ROWS, Numbered, Stop, by_index, drop_some, light, lines_of, run
from lightning_vlmxai import (
    ConfigurationError,
    Item,
    JudgeError,
    MultiLabelClassification,
    UnscoredReason,
    Verdict,
)
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.errors import ProbeError
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.sinks import count_audit
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which a process of its own writes."""
    monkeypatch.setattr(vlm_audit, "write_report", lambda _: None)


@pytest.mark.parametrize("batches", [1, 8, 9, 12])
def test_an_audit_goes_on_where_it_was_cut_short(tmp_path: Path, batches: int) -> None:
    """Nothing that has a verdict is judged again, no sample is twice in the result or missing."""
    run(tmp_path / "whole", ScriptedJudge(by_index))
    first, second = ScriptedJudge(by_index), ScriptedJudge(by_index)
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, first, callbacks=(Stop(batches),))
    done = [line["probe"] for line in lines_of(tmp_path) if line["score"] is not None]
    callback, _ = run(tmp_path, second)
    asked = [request.probe_index for request in second.requests]
    assert sorted([*done, *asked]) == list(range(ROWS))
    assert callback.progress.done == len(done)
    kept = ("probe", "score", "quadrant", "confidence", "evaluation", "pixels", "label")
    cut, whole = (
        [{name: line[name] for name in kept} for line in lines_of(folder)]
        for folder in (tmp_path, tmp_path / "whole")
    )
    assert cut == whole
    assert count_audit(tmp_path / "run", "validate") == count_audit(
        tmp_path / "whole" / "run", "validate"
    )


def test_a_finished_audit_asks_nothing_again(tmp_path: Path) -> None:
    """The same call tells the same figures."""
    before, _ = run(tmp_path, ScriptedJudge(by_index))
    judge = ScriptedJudge(by_index)
    after, _ = run(tmp_path, judge)
    assert judge.requests == []
    assert dict(after.metrics) == dict(before.metrics)


def test_what_is_cut_off_in_the_middle_of_a_line_is_done_again(tmp_path: Path) -> None:
    """As a kill leaves files: half a line, and half a row of probabilities."""
    run(tmp_path, ScriptedJudge(by_index))
    folder = tmp_path / "run"
    text = (folder / "samples.jsonl").read_bytes()
    lost = json.loads(text.splitlines()[-1])["probe"]
    (folder / "samples.jsonl").write_bytes(text[:-40])
    floats = (folder / "probabilities.f32").read_bytes()
    (folder / "probabilities.f32").write_bytes(floats[:-3])
    judge = ScriptedJudge(by_index)
    run(tmp_path, judge)
    assert [request.probe_index for request in judge.requests] == [lost]
    lines = lines_of(tmp_path)
    assert [line["probe"] for line in lines] == list(range(ROWS))
    table = np.fromfile(folder / "probabilities.f32", "<f4").reshape(-1, 2)
    assert table[lines[lost]["row"]].sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("reason", "is_asked_again"),
    [
        (UnscoredReason.CONNECTION, True),
        (UnscoredReason.DEADLINE, True),
        (UnscoredReason.REFUSAL, False),
        (UnscoredReason.UNPARSEABLE, False),
        (UnscoredReason.PENDING, False),
    ],
)
def test_what_got_no_answer_is_asked_again_and_what_got_one_is_not(
    tmp_path: Path, reason: UnscoredReason, is_asked_again: bool
) -> None:
    """An answer without a score was paid for."""

    def some(request: JudgeRequest) -> Verdict:
        if request.probe_index % 10 == 3:
            return Verdict.unscored(reason, "so")
        return by_index(request)

    is_told = reason is not UnscoredReason.PENDING
    with pytest.warns(UserWarning, match="unscored") if is_told else nullcontext():
        run(tmp_path, ScriptedJudge(some))
    judge = ScriptedJudge(by_index)
    callback, _ = run(tmp_path, judge)
    missed = list(range(3, ROWS, 10))
    assert sorted(r.probe_index for r in judge.requests) == (missed if is_asked_again else [])
    expected = 1.0 if is_asked_again else 1 - len(missed) / ROWS
    assert callback.metrics["vlmxai/coverage"] == pytest.approx(expected)


_SHUFFLED = pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled.*")


@_SHUFFLED
def test_rows_in_an_unknown_order_are_known_by_their_pictures(tmp_path: Path) -> None:
    """Shuffled anew each time, an audit that was cut short still does each sample once."""
    data = Squares(ROWS)

    def shuffled() -> DataLoader[Any]:
        return DataLoader(data, batch_size=8, shuffle=True)

    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, ScriptedJudge(light), loader=shuffled(), callbacks=(Stop(10),))
    torch.manual_seed(5)
    judge = ScriptedJudge(light)
    run(tmp_path, judge, loader=shuffled())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"] == "pixels"
    assert len({line["probe"] for line in lines_of(tmp_path)}) == len(lines_of(tmp_path)) == ROWS
    run(tmp_path / "ordered", ScriptedJudge(light))
    for folder in (tmp_path, tmp_path / "ordered"):
        scores = sorted((line["pixels"], line["score"]) for line in lines_of(folder))
        assert len(scores) == ROWS
        assert scores == sorted((line["pixels"], line["score"]) for line in lines_of(tmp_path))


@_SHUFFLED
def test_equal_pictures_are_told_apart_by_index_and_counted_once_without(tmp_path: Path) -> None:
    """A stream that gives a row twice adds nothing; a data set's own copies are samples."""
    data = Squares(ROWS)
    data.pictures[7], data.targets[7], data.masks[7] = (
        data.pictures[9],
        data.targets[9],
        data.masks[9],
    )
    callback, _ = run(tmp_path, ScriptedJudge(light), data=data)
    assert callback.progress.judged == ROWS
    shuffled = DataLoader(data, batch_size=8, shuffle=True)
    callback, _ = run(tmp_path / "shuffled", ScriptedJudge(light), loader=shuffled)
    assert (callback.progress.judged, callback.progress.repeated) == (ROWS - 1, 1)


def test_dropped_samples_shift_no_identity(tmp_path: Path) -> None:
    """By pictures where nothing tells, by the row's own index where `unpack` does."""
    loader = DataLoader(Numbered(ROWS), batch_size=8, collate_fn=drop_some)
    run(tmp_path, ScriptedJudge(light), loader=loader)
    kept = [index for index in range(ROWS) if index % 10]
    assert len(lines_of(tmp_path)) == len(kept)
    run(
        tmp_path / "own",
        ScriptedJudge(light),
        loader=loader,
        unpack=lambda row: Item(
            image=row[0], target=row[1], reference_mask=row[2], index=int(row[3])
        ),
    )
    lines = lines_of(tmp_path / "own")
    assert [line["probe"] for line in lines] == kept
    data = Squares(ROWS)
    assert [line["label"] for line in lines] == [data.targets[index] for index in kept]


def test_another_model_or_judge_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    """Two audits mixed into one would be a figure of neither."""
    run(tmp_path, ScriptedJudge(by_index))
    other = Separable()
    with torch.no_grad():
        other.network[0].weight.mul_(2)
    with pytest.raises(ConfigurationError, match=r"another model.*run_dir="):
        run(tmp_path, ScriptedJudge(by_index), module=other)
    with pytest.raises(ConfigurationError, match=r"another alpha \(15.0, now 20.0\)"):
        run(tmp_path, ScriptedJudge(by_index), alpha=20.0)
    assert len(lines_of(tmp_path)) == ROWS


def test_changed_data_are_refused(tmp_path: Path) -> None:
    """A sample that is another picture now is none that was judged."""
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, ScriptedJudge(by_index), callbacks=(Stop(10),))
    with pytest.raises(ProbeError, match=r"another for sample 0.*run_dir="):
        run(tmp_path, ScriptedJudge(by_index), data=Squares(ROWS, seed=3))


def test_a_judge_that_is_away_ends_the_audit_and_nothing_is_lost(tmp_path: Path) -> None:
    """From the first row on, or on the way: what was judged stays, the rest is asked later."""
    away = Verdict.unscored(UnscoredReason.AUTHENTICATION, "HTTP 401")
    judge = ScriptedJudge([away])
    with pytest.raises(JudgeError, match=r"could not score a first row: .*HTTP 401.*api_key_env"):
        run(tmp_path, judge)
    assert len(judge.requests) == 1
    data, gone = Squares(400), [False]

    def leaves(request: JudgeRequest) -> Verdict:
        gone[0] |= request.probe_index >= 150
        if gone[0]:
            return Verdict.unscored(UnscoredReason.CONNECTION, "refused")
        return by_index(request)

    folder = tmp_path / "later"
    with (
        pytest.warns(UserWarning, match="connection"),
        pytest.raises(JudgeError, match=r"the last \d+ rows"),
    ):
        run(folder, ScriptedJudge(leaves, concurrency=1), data=data)
    second = ScriptedJudge(by_index)
    run(folder, second, data=data)
    assert len(second.requests) == 250
    assert count_audit(folder / "run", "validate").judged == 400


def test_a_picture_with_several_labels_is_one_row_of_several_lines(tmp_path: Path) -> None:
    """Each predicted label has its line; a row whose lines are not all there is done again."""

    class Both(Squares):
        def __getitem__(self, index: int) -> Any:
            image, label, mask = super().__getitem__(index)
            return image, torch.nn.functional.one_hot(torch.tensor(label), 2), mask

    class Sure(Separable):
        """Predicts the first label for all pictures, and the second for some."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(images)
            return logits + torch.tensor([5.0, 0.0])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    settings: dict[str, Any] = {
        "data": Both(ROWS), "module": Sure(), "task": MultiLabelClassification()
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, ScriptedJudge(light), callbacks=(Stop(10),), **settings)
    lines = tmp_path / "run" / "samples.jsonl"
    whole = lines.read_text().splitlines(keepends=True)
    several = next(n for n, line in enumerate(whole) if json.loads(line)["parts"] == 2)
    lines.write_text("".join([*whole[:several], *whole[several + 1 :]]))
    half = json.loads(whole[several])["probe"]
    judge = ScriptedJudge(light)
    run(tmp_path, judge, **settings)
    assert half in [request.probe_index for request in judge.requests]
    parts: dict[int, set[int]] = {}
    for line in lines_of(tmp_path):
        parts.setdefault(line["probe"], set()).add(line["part"])
        assert line["is_correct"] == (line["part"] == Squares(ROWS).targets[line["probe"]])
    assert sorted(parts) == list(range(ROWS))
    assert {len(found) for found in parts.values()} == {1, 2}
    assert count_audit(tmp_path / "run", "validate").samples == sum(map(len, parts.values()))
