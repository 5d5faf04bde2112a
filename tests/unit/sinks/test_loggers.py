"""Which sinks a logger gets, and what MLflow is sent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger
from PIL import Image

from lightning_vlmxai.sinks import ReportSink, Sink, finish_sinks, make_sinks
from lightning_vlmxai.sinks.sheets import round_sheets
from lightning_vlmxai.testing import MemorySink
from samples import make_round, make_sample


class FakeClient:
    """Has the methods of `mlflow.MlflowClient` that are called, with their signatures."""

    def __init__(self) -> None:
        self.images: dict[tuple[str, int], Image.Image] = {}
        self.dicts: list[Any] = []
        self.files: list[Any] = []
        self.metrics: list[Any] = []

    def log_image(
        self,
        run_id: str,
        image: Image.Image,
        artifact_file: str | None = None,
        *,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
        synchronous: bool | None = None,
    ) -> None:
        assert run_id == "r1"
        assert artifact_file is None
        self.images[key, step] = image

    def log_dict(self, run_id: str, dictionary: dict[str, Any], artifact_file: str) -> None:
        self.dicts.append((run_id, dictionary, artifact_file))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self.files.append((run_id, local_path, artifact_path))


class FakeMLFlowLogger(MLFlowLogger):
    """Lightning's logger without the library behind it."""

    run_id = "r1"
    experiment = None

    def __init__(self) -> None:
        self.experiment = FakeClient()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.experiment.metrics.append((metrics, step))


def test_mlflow_gets_sheets_settings_report_and_figures(tmp_path: Path) -> None:
    """Each sheet at its round's step, the settings once, the report at the end."""
    logger = FakeMLFlowLogger()
    rounds = [make_round(make_sample(score=n), number=n, step=9 * n) for n in (1, 2)]
    sinks = make_sinks([logger], {"judge": "scripted"})
    for closed in rounds:
        for sink in sinks:
            sink.write(closed)
    finish_sinks(sinks, tmp_path / "report.html")
    client = logger.experiment
    assert set(client.images) == {
        (f"vlmxai/{name}", closed.step) for closed in rounds for name in round_sheets(closed)
    }
    assert client.dicts == [("r1", {"judge": "scripted"}, "vlmxai/settings.json")]
    assert client.files == [("r1", str(tmp_path / "report.html"), "vlmxai")]
    assert [step for _, step in client.metrics] == [9, 18]


def test_any_other_logger_gets_the_figures_of_a_fit(tmp_path: Path) -> None:
    """A CSV file has them at the round's step; a test's figures Lightning logs itself."""
    logger = CSVLogger(tmp_path)
    (sink,) = make_sinks([logger])
    sink.write(make_round(make_sample(score=1), step=8))
    sink.write(make_round(make_sample(score=1), step=9, stage="test"))
    logger.save()
    head, *lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    assert "vlmxai/correct_low_rate" in head.split(",")
    assert len(lines) == 1
    assert lines[0].split(",")[head.split(",").index("step")] == "8"


def test_only_who_keeps_reports_is_handed_one(tmp_path: Path) -> None:
    """A sink without `finish` is a sink all the same."""
    kept: list[Path] = []
    keeper = SimpleNamespace(write=print, finish=kept.append)
    assert isinstance(MemorySink(), Sink)
    assert not isinstance(MemorySink(), ReportSink)
    finish_sinks([MemorySink(), keeper], tmp_path)
    assert kept == [tmp_path]
