"""`VLMAuditCallback(faithfulness=)`: figures of the maps, beside each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from audited import Stop, by_index, lines_of, run
from lightning_vlmxai import Classification, ConfigurationError, MultiLabelClassification, Verdict
from lightning_vlmxai.explain import LiveModel
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.testing import ScriptedJudge
from lightning_vlmxai.trust import FAITHFULNESS, faithfulness
from tiny import MEAN, Separable, Squares

ROWS = 21


@pytest.mark.slow
def test_figures_are_those_of_the_function_for_each_row(tmp_path: Path) -> None:
    """Of the very map that the judge was shown; parts of a batch and the last one play no part."""
    maps: dict[int, torch.Tensor] = {}

    def keep(request: JudgeRequest) -> Verdict:
        maps[request.probe_index] = request.saliency
        return by_index(request)

    module = Separable()
    data = Squares(ROWS)
    loader = DataLoader(data, batch_size=17)  # which goes through the network by eight
    given = {"loader": loader, "max_pending": 8, "faithfulness": FAITHFULNESS}
    run(tmp_path, ScriptedJudge(keep), module=module, **given)
    lines = lines_of(tmp_path)
    assert [line["probe"] for line in lines] == sorted(maps) == list(range(ROWS))
    for line in lines:
        image, row = data[line["probe"]][0], maps[line["probe"]]
        wanted = faithfulness(LiveModel(module), image[None], row[None], Classification())
        for name in FAITHFULNESS:
            assert line["faithfulness"][name] == pytest.approx(float(wanted[name][0]), abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*blank_saliency")
def test_rows_without_a_figure_say_so(tmp_path: Path) -> None:
    """A blank map has none, whatever else its batch holds; without names there is no field."""
    data = Squares(ROWS)
    for picture in data.pictures[::4]:
        picture[:] = torch.tensor(MEAN)[:, None, None]  # zero, as the network is given it
    judge, figures = ScriptedJudge(by_index), ["increase", "aopc"]
    run(tmp_path, judge, data=data, faithfulness=figures)
    lines = lines_of(tmp_path)
    blank = [line for line in lines if line["reason"] == "blank_saliency"]
    assert [line["probe"] for line in blank] == list(range(0, ROWS, 4))
    assert all(line["faithfulness"] == {"increase": None, "aopc": None} for line in blank)
    told = [line["faithfulness"] for line in lines if line not in blank]
    assert all(one["aopc"] is not None for one in told)
    run(tmp_path / "plain", judge, data=Squares(ROWS))
    assert all("faithfulness" not in line for line in lines_of(tmp_path / "plain"))


@pytest.mark.slow
@pytest.mark.slow
def test_each_explained_label_has_its_own(tmp_path: Path) -> None:
    """Average Drop of several labels, counted by hand."""

    class Tagged(Squares):
        """Both labels."""

        def __getitem__(self, index: int) -> Any:
            image, _, mask = super().__getitem__(index)
            return image, torch.ones(2), mask

    class Module(Separable):
        """Logs nothing."""

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0])

    seen: list[tuple[int, str, torch.Tensor]] = []

    def keep(request: JudgeRequest) -> Verdict:
        seen.append((request.probe_index, request.label_name, request.saliency))
        return Verdict.scored(3.0)

    module, data = Module(), Tagged(ROWS)
    run(
        tmp_path, ScriptedJudge(keep), data=data, module=module, class_names=("red", "blue"),
        task=MultiLabelClassification(), faithfulness=["average_drop"],
    )  # fmt: skip
    lines = {(line["probe"], line["prediction_name"]): line for line in lines_of(tmp_path)}
    assert len(seen) >= ROWS
    for index, name, saliency in seen:
        image, label = data[index][0], ("red", "blue").index(name)
        with torch.no_grad():
            whole, masked = module(torch.stack([image, image * saliency]))[:, label].sigmoid()
        wanted = float((whole - masked).clamp(min=0) / whole)
        told = lines[index, name]["faithfulness"]["average_drop"]
        assert told == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
@pytest.mark.slow
def test_an_audit_that_goes_on_measures_the_rest_and_nothing_else(tmp_path: Path) -> None:
    """All rows have their figures; with other ones it is another audit."""
    judge, given = ScriptedJudge(by_index), {"data": Squares(ROWS), "max_pending": 8}
    with pytest.raises(RuntimeError, match="the power is out"):
        run(tmp_path, judge, callbacks=(Stop(2),), faithfulness=["increase"], **given)
    run(tmp_path, judge, faithfulness=["increase"], **given)
    assert [line["faithfulness"]["increase"] in (0.0, 1.0) for line in lines_of(tmp_path)] == [
        True
    ] * ROWS
    for other in ([], ["aopc"]):
        with pytest.raises(ConfigurationError, match="made with another faithfulness"):
            run(tmp_path, judge, faithfulness=other, **given)


def test_a_figure_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """With those that there are."""
    with pytest.raises(ConfigurationError, match="Expected `faithfulness` to be a tuple of del"):
        run(tmp_path, faithfulness=["drop"])
