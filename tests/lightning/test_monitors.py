"""Stock callbacks and schedulers that monitor our metrics: what works, and what is warned of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from curves import Steady, Unhurried, read_lines
from lightning_vlmxai import QuadrantStopping, UnscoredReason, Verdict, VLMExplainCallback
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, loader, make_trainer

NAME = "vlmxai/average_score"

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*blank_saliency",
    # Lightning's own, where there is an `OnExceptionCheckpoint`.
    "ignore:.*was called without a model",
    "ignore:.*there is no last checkpoint",
)


def falling(start: int = 4) -> ScriptedJudge:
    """Return a judge whose scores fall by a half with each round."""
    return ScriptedJudge(lambda r: Verdict.scored(start - max(r.round_number, 0) / 2))


def fit(tmp_path: Path, *others: pl.Callback, module: Any = None, **settings: Any) -> Any:
    """Train for four epochs; return the trainer, what we warned of and what ended the run."""
    ours = {"probe_size": 4, "judge": falling(), **settings}
    keeps = any(isinstance(other, ModelCheckpoint) for other in others)
    trainer = make_trainer(
        tmp_path,
        *(VLMExplainCallback(**ours), *others),
        max_epochs=4,
        enable_checkpointing=keeps,
    )
    ended: Exception | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(module or Separable(), loader(Squares(16)), loader(Squares(8, seed=1)))
        except (RuntimeError, MisconfigurationException) as error:
            ended = error
    told = [str(w.message) for w in caught if str(w.message).startswith("vlmxai")]
    return trainer, told, ended


def test_early_stopping_stops_as_documented(tmp_path: Path) -> None:
    """Falling from round 1 on, patience 2: with lag 1 and `strict=False` at validation 3."""
    for lag, epochs in ((0, 3), (1, 4)):
        stop = EarlyStopping(NAME, mode="max", patience=2, strict=False)
        trainer, told, ended = fit(tmp_path, stop, lag=lag)
        assert (trainer.current_epoch, stop.stopped_epoch) == (epochs, epochs - 1)
        assert (told, ended) == ([], None)


@pytest.mark.parametrize("pace", [{"lag": 1}, {"lag": 0, "every_n_validations": 2}])
def test_strict_early_stopping_is_warned_of_where_it_will_raise(
    tmp_path: Path, pace: dict[str, int]
) -> None:
    """And it does raise, at its first check; with a figure at each validation it does neither."""
    _, told, ended = fit(tmp_path, EarlyStopping(NAME, mode="max"), **pace)
    assert len(told) == 1
    assert "raises at its first check" in told[0]
    assert "strict=False" in told[0]
    assert isinstance(ended, RuntimeError)
    _, told, ended = fit(tmp_path, EarlyStopping(NAME, mode="max", patience=9), lag=0)
    assert (told, ended) == ([], None)


def test_stock_early_stopping_loses_patience_between_rounds_and_ours_does_not(
    tmp_path: Path,
) -> None:
    """A round at every second validation, each better than the last."""
    judge = ScriptedJudge(lambda r: Verdict.scored(max(r.round_number, 0)))
    stock = EarlyStopping(NAME, mode="max", patience=1, strict=False)
    pace = {"lag": 0, "every_n_validations": 2}
    trainer, told, _ = fit(tmp_path, stock, judge=judge, **pace)
    assert trainer.current_epoch == 3
    assert len(told) == 1
    assert "loses patience at validations without a round" in told[0]
    gate = QuadrantStopping(NAME, mode="max", patience=1)
    trainer, told, _ = fit(tmp_path, gate, judge=judge, **pace)
    assert (trainer.current_epoch, told) == (4, [])


def test_model_checkpoint_keeps_the_weights_that_the_figure_is_of(tmp_path: Path) -> None:
    """With lag 0 the best is round 0's, saved at its step under its value."""
    keep = ModelCheckpoint(tmp_path, "{step}", monitor=NAME, mode="max")
    trainer, told, ended = fit(tmp_path, keep, lag=0)
    assert (told, ended) == ([], None)
    assert Path(keep.best_model_path).name == "step=2.ckpt"
    assert keep.best_model_score == 4
    assert trainer.current_epoch == 4


def test_model_checkpoint_is_warned_of_where_it_misleads_or_raises(tmp_path: Path) -> None:
    """With lag 1 it raises at the first validation, as it was told."""
    _, told, ended = fit(tmp_path, ModelCheckpoint(tmp_path, monitor=NAME), lag=1)
    assert len(told) == 1
    assert "under the figure of an earlier one, and raises" in told[0]
    assert "lag=0" in told[0]
    assert isinstance(ended, MisconfigurationException)


@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint])
def test_a_name_that_is_never_logged_is_told_with_the_nearest(tmp_path: Path, kind: Any) -> None:
    """A typing error in a monitor's name is found in `setup`."""
    _, told, _ = fit(tmp_path, kind(monitor="vlmxai/correct_lo_rate"), lag=0)
    assert told[0] == (
        f"vlmxai: {kind.__name__} monitors 'vlmxai/correct_lo_rate', which is never logged. "
        "Nearest is 'vlmxai/correct_low_rate'; a class's own metrics need its name in "
        "`watch_classes`."
    )
    _, told, _ = fit(tmp_path, kind(monitor="val_loss"))
    assert told == []


class Plateau(Separable):
    """Lowers its learning rate where a figure does not improve."""

    def __init__(self, monitor: str, *, strict: bool) -> None:
        super().__init__()
        self.config = {"monitor": monitor, "strict": strict}

    def configure_optimizers(self) -> Any:
        """Return optimizer and scheduler."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, **self.config}}


def test_reduce_on_plateau_follows_our_figures_and_is_warned_of(tmp_path: Path) -> None:
    """The rate falls with falling scores; strict with lag 1 raises, and a wrong name is told."""
    trainer, told, ended = fit(tmp_path, module=Plateau(NAME, strict=True), lag=0)
    assert (told, ended) == ([], None)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-3)
    _, told, ended = fit(tmp_path, module=Plateau(NAME, strict=True), lag=1)
    assert 'Return "strict": False' in told[0]
    assert isinstance(ended, MisconfigurationException)
    _, told, ended = fit(tmp_path, module=Plateau(NAME, strict=False), lag=1)
    assert (told, ended) == ([], None)
    _, told, _ = fit(tmp_path, module=Plateau("vlmxai/average", strict=False), lag=1)
    assert "ReduceLROnPlateau monitors 'vlmxai/average', which is never logged" in told[0]


class PlantedError(RuntimeError):
    """Ends a run, for `OnExceptionCheckpoint` to save."""


class Accident(pl.Callback):
    """Raises in the last epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise."""
        if trainer.current_epoch == 3:
            raise PlantedError


def test_stock_callbacks_do_in_our_company_what_they_do_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table in docs/stock-callbacks.md: one fit with all of them, one without ours."""
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    ends: list[dict[str, Any]] = []
    for ours in ([VLMExplainCallback(Unhurried(), probe_size=6, lag=0)], []):
        folder = tmp_path / str(len(ours))
        kept = folder / "kept"
        stop = EarlyStopping("val_loss", patience=1, min_delta=10)
        keep = ModelCheckpoint(kept, "{step}", monitor="val_loss", save_last=True)
        ema = averaging.EMAWeightAveraging(decay=0.9)
        swa = callbacks.StochasticWeightAveraging(1e-2, swa_epoch_start=2)
        logger = CSVLogger(folder)
        bar = callbacks.RichProgressBar()
        on_error = callbacks.OnExceptionCheckpoint(folder)
        trainer = make_trainer(
            folder,
            *(*ours, stop, keep, ema, swa, callbacks.LearningRateMonitor("epoch"), bar, on_error),
            Accident(),
            enable_checkpointing=True,
            enable_progress_bar=True,
            logger=logger,
            min_epochs=4,
            max_epochs=4,
            log_every_n_steps=1,
        )
        module = Steady()
        with pytest.raises(PlantedError):
            trainer.fit(module, loader(Squares()), loader(Squares(8, seed=1)))
        logger.save()
        rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
        rates = [i for i, name in enumerate(rows[0].split(",")) if name.startswith("lr-")]
        weights = torch.load(on_error.ckpt_path, weights_only=True)
        ends.append(
            {
                "stopped": (stop.stopped_epoch, stop.wait_count),
                "best": (Path(keep.best_model_path).name, keep.best_model_score),
                "last": Path(keep.last_model_path).name,
                "rates": [row.split(",")[rates[0]] for row in rows[1:] if row.split(",")[rates[0]]],
                "weights": [value.tolist() for value in weights["state_dict"].values()],
                "averaged": [v.tolist() for v in weights["averaging_state"].values()]
                if "averaging_state" in weights
                else sorted(weights),
            }
        )
        if ours:
            state = weights["callbacks"]["VLMExplainCallback"]
            assert state["next_number"] == 3
            assert ours[0].run_dir is not None
            explained = read_lines(ours[0].run_dir / "rounds.jsonl")
            assert [r["number"] for r in explained] == [0, 1, 2]
            assert "Epoch 3/4" in capsys.readouterr().out
    assert ends[0] == ends[1]
    assert ends[0]["stopped"] == (2, 2)


def test_weight_averaging_ends_with_the_same_weights(tmp_path: Path) -> None:
    """SWA's averaged weights are equal to the last bit with and without our callback."""
    ends = []
    for ours in ([VLMExplainCallback(Unhurried(), probe_size=6, lag=0)], []):
        swa = callbacks.StochasticWeightAveraging(1e-2, swa_epoch_start=1)
        trainer = make_trainer(tmp_path / str(len(ours)), *ours, swa, max_epochs=3)
        module = Steady()
        trainer.fit(module, loader(Squares()), loader(Squares(8, seed=1)))
        ends.append([value.tolist() for value in module.state_dict().values()])
    assert ends[0] == ends[1]


def test_ema_is_explained_with_the_weights_that_were_validated(tmp_path: Path) -> None:
    """Listed after ours, it has its averaged weights in place while probes are explained."""
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    validated: list[Any] = []
    explained: list[Any] = []

    class Seen(Steady):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if not self.training:
                weights = [p.tolist() for p in self.parameters()]
                (explained if len(images) == 6 else validated).append(weights)
            return super().forward(images)

    # Which doesn't ask about the lists that the forward writes to.
    ours = VLMExplainCallback(Unhurried(), probe_size=6, lag=0, isolation="trust")
    trainer = make_trainer(tmp_path, ours, averaging.EMAWeightAveraging(decay=0.5), max_epochs=2)
    trainer.fit(Seen(), loader(Squares()), loader(Squares(8, seed=1)))
    assert explained[-1] == validated[-1]
    assert len(explained) >= 2


def test_an_outage_at_the_first_round_is_a_gap_for_stock_callbacks(tmp_path: Path) -> None:
    """Not strict, it waits for the first figure."""

    def script(request: JudgeRequest) -> Verdict:
        if request.round_number == 0:
            return Verdict.unscored(UnscoredReason.TIMEOUT)
        return Verdict.scored(3)

    stop = EarlyStopping(NAME, mode="max", patience=9, strict=False)
    trainer, told, ended = fit(tmp_path, stop, judge=ScriptedJudge(script), lag=0)
    assert (trainer.current_epoch, ended, stop.wait_count) == (4, None, 2)
    assert len(told) == 1
