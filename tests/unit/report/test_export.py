"""What is exported is what was recorded, and the programs that it is for read it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from exported import FILES, write_named_run
from lightning_vlmxai.cli import main
from lightning_vlmxai.records import Round, Sample
from lightning_vlmxai.report import FORMATS, Filters, list_rows, read_run, write_rows
from lightning_vlmxai.report.export import COLUMNS
from run_folders import write_run

NO_EXTRA = "needs the extra `exports`"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    """Return a run folder and its rounds."""
    folder = tmp_path_factory.mktemp("run")
    return folder, write_named_run(folder)


def export(folder: Path, *options: str) -> str:
    """Return what the command writes."""
    out = folder / "exported"
    assert main(["export", str(folder), *options, "--out", str(out)]) == 0
    return out.read_bytes().decode()


def literal(closed: Round, sample: Sample) -> list[str]:
    """Return a sample's cells, written the slow way."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{float(format(value, '.4f')):g}" if value else "0"

    e, v = sample.explanation, sample.verdict
    words = e.file or "", v.evaluation
    file, evaluation = (f"'{w}" if w.startswith(tuple("=+-@\t")) else w for w in words)
    score = number(v.score)
    return [
        file, str(e.probe_index), "", f"fit-{closed.number}", str(closed.epoch), str(closed.step),
        e.label_name, e.prediction_name, str(e.is_correct).lower(), number(e.confidence), score,
        sample.quadrant.value if sample.quadrant else "", v.reason.value if v.reason else "",
        number(sample.attention_drift), evaluation, v.justification,
    ]  # fmt: skip


def test_a_table_has_every_sample_of_every_round(run: tuple[Path, list[Round]]) -> None:
    """Cells as they were recorded, whatever is in them; a formula is made a text."""
    folder, rounds = run
    table = list(csv.reader(io.StringIO(export(folder, "--round", "all", "--sort", "probe"))))
    assert table[0] == list(COLUMNS)
    expected = [
        literal(closed, sample)
        for probe in range(0, 36, 3)
        for closed in rounds
        for sample in closed.samples
        if sample.explanation.probe_index == probe
    ]
    assert table[1:] == expected
    assert sum(row[0][:2] in ("'=", "'-", "'@", "'+") for row in table) == 4 * len(rounds)


def test_pandas_reads_the_table_back(run: tuple[Path, list[Round]]) -> None:
    """Cell by cell."""
    pandas = pytest.importorskip("pandas", reason=NO_EXTRA)
    rows = list_rows(read_run(run[0]), Filters(round="all"))
    frame = pandas.read_csv(io.StringIO(write_rows(rows, "csv")), keep_default_na=False, dtype=str)
    assert list(frame.columns) == list(COLUMNS)
    for (_, told), row in zip(frame.iterrows(), rows, strict=True):
        for name, value in row.items():
            cell = told[name].removeprefix("'") if isinstance(value, str) else told[name]
            known = "" if value is None else str(value).lower() if value in (True, False) else value
            assert cell == (str(known) if not isinstance(value, bool) else known), name
    scores = pandas.read_csv(io.StringIO(write_rows(rows, "csv")))["score"]
    assert scores.dropna().tolist() == [row["score"] for row in rows if row["score"] is not None]


@pytest.mark.parametrize("quadrant", ["", "correct_low", "wrong_high", "unscored"])
@pytest.mark.parametrize("label", [None, "dog"])
def test_filters_pass_what_the_gallery_shows(
    run: tuple[Path, list[Round]], quadrant: str, label: str | None
) -> None:
    """Of the last round, or of all, lowest score first."""
    for number in ("", "all"):
        rounds = run[1] if number else run[1][-1:]
        expected = [
            (sample.verdict.score, sample.explanation.probe_index, closed.number)
            for closed in rounds
            for sample in closed.samples
            if label in (None, sample.explanation.label_name)
            and (
                not quadrant
                or quadrant == (sample.quadrant.value if sample.quadrant else "unscored")
            )
        ]
        filters = Filters(round=number, quadrant=quadrant, label=label)
        rows = list_rows(read_run(run[0]), filters)
        found = [(row["probe"], int(row["round"].removeprefix("fit-"))) for row in rows]
        by_score = sorted(expected, key=lambda s: (s[0] is None, s[0] or 0.0, s[1], s[2]))
        assert found == [(probe, place) for _, probe, place in by_score]


def test_a_list_has_each_name_once(run: tuple[Path, list[Round]]) -> None:
    """A probe without a name is left out, and counted."""
    names = export(run[0], "--format", "names", "--round", "all", "--sort", "probe").splitlines()
    assert names == list(dict.fromkeys(file for file in FILES if file))


def test_a_prefix_goes_before_each_name(run: tuple[Path, list[Round]]) -> None:
    """For servers that have the files elsewhere."""
    names = export(
        run[0], "--format", "names", "--sort", "probe", "--prefix", "/d/?d="
    ).splitlines()
    assert names[0] == "/d/?d=val/zero/1.png"


def test_fiftyone_reads_its_samples(run: tuple[Path, list[Round]]) -> None:
    """By its own class, and with the fields' types that it knows; no data base is needed."""
    fiftyone = pytest.importorskip("fiftyone", reason=NO_EXTRA)
    told = json.loads(export(run[0], "--format", "fiftyone", "--sort", "probe"))
    for name, kind in told["sample_fields"].items():
        assert name
        for path in kind.rstrip(")").split("("):
            place = fiftyone.core
            for part in path.split(".")[2:]:
                place = getattr(place, part)
    samples = [fiftyone.Sample.from_dict(dict(one)) for one in told["samples"]]
    recorded = [s for s in run[1][-1].samples if s.explanation.file]
    assert len(samples) == len(recorded) == 11
    for sample, own in zip(samples, recorded, strict=True):
        assert sample.filepath.endswith(own.explanation.file)
        assert sample.ground_truth.label == own.explanation.label_name
        assert sample.prediction.label == own.explanation.prediction_name
        assert sample.prediction.confidence == pytest.approx(own.explanation.confidence, abs=1e-4)
        assert sample.tags == [own.quadrant.value if own.quadrant else "unscored"]
        assert set(sample.field_names) >= set(told["sample_fields"])


def test_fiftyone_makes_a_data_set(run: tuple[Path, list[Round]]) -> None:
    """With `Dataset.from_json`, where its data base runs."""
    fiftyone = pytest.importorskip("fiftyone", reason=NO_EXTRA)
    try:
        fiftyone.list_datasets()
    except Exception as error:
        pytest.skip(f"FiftyOne's data base does not run here ({type(error).__name__})")
    export(run[0], "--format", "fiftyone")
    data = fiftyone.Dataset.from_json(str(run[0] / "exported"), rel_dir="/data")
    assert len(data) == 11
    assert data.count_values("ground_truth.label")["cat"] == 4


def test_label_studio_takes_the_tasks(run: tuple[Path, list[Round]]) -> None:
    """Task and prediction are what its own check of the configuration wants."""
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason=NO_EXTRA)
    tasks = json.loads(export(run[0], "--format", "label-studio"))
    names = {task["data"]["label"] for task in tasks} | {"other"}
    choices = "".join(f'<Choice value="{name}"/>' for name in names if "<" not in name)
    interface = sdk.LabelInterface(
        '<View><Image name="image" value="$image"/>'
        f'<Choices name="class" toName="image">{choices}</Choices></View>'
    )
    assert len(tasks) == 11
    for task in tasks:
        assert interface.validate_task({"data": task["data"]})
        fits = interface.validate_prediction(task["predictions"][0])
        assert fits is ("<" not in task["predictions"][0]["result"][0]["value"]["choices"][0])


def test_what_is_not_there_is_told(
    run: tuple[Path, list[Round]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what there is, or what to do."""
    for option, named in (("--round", "fit-2"), ("--class", "dog"), ("--reason", "timeout")):
        assert main(["export", str(run[0]), option, "no such"]) == 2
        assert named in capsys.readouterr().err
    write_run(tmp_path)
    assert main(["export", str(tmp_path), "--format", "names"]) == 2
    assert "Item(image=..., target=..., file=...)" in capsys.readouterr().err
    assert main(["export", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err == "12 samples, 0 with a known file.\n"
    assert len(list(csv.reader(io.StringIO(told.out)))) == 13


def test_every_format_is_written_of_nothing(run: tuple[Path, list[Round]]) -> None:
    """A filter may pass no sample."""
    for kind in FORMATS:
        assert isinstance(write_rows([], kind), str)
    empty: Any = json.loads(write_rows([], "fiftyone"))
    assert empty["samples"] == []
