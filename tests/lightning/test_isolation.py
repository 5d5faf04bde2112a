"""The network is borrowed where that is proven to harm nothing, else copied, else refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lightning_vlmxai import Verdict, VLMExplainCallback
from lightning_vlmxai.errors import AttributionError, ConfigurationError, ModelChangedError
from lightning_vlmxai.explain import Explainer, LiveModel
from lightning_vlmxai.testing import ScriptedJudge
from neutral_drawn import draw, expects
from neutral_fit import HAS_AVERAGING, Combination
from neutrality import describe, try_drawn
from tiny import Separable, Squares, loader, make_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*blank_saliency"),
    # Of torch's compiler and of Lightning, with the callback and without it.
    pytest.mark.filterwarnings("ignore:.*not a leaf Tensor is being accessed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:.*the probe set differs"),
]
COUNTS: list[int] = []


class InPlace(Separable):
    """Writes to an array of its own at each forward; training depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = np.zeros(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        self.counts += 1
        return super().forward(images) * (1 + self.training * float(self.counts[0]) / 1000)


class Global(Separable):
    """Writes to a global list."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        COUNTS.append(1)
        return super().forward(images)


def fit(tmp_path: Path, module: Any, *callbacks: pl.Callback, **how: Any) -> Any:
    """Return a module that was trained, explained as asked."""
    pl.seed_everything(0, verbose=False)
    ours: list[Any] = []
    if how:
        judge = ScriptedJudge(lambda _: Verdict.scored(3))
        ours = [VLMExplainCallback(judge, probe_size=4, run_dir=tmp_path / "run", **how)]
    trainer = make_trainer(tmp_path, *ours, *callbacks)
    trainer.fit(module, loader(Squares()), loader(Squares(8, seed=1)))
    return module


@pytest.mark.parametrize("isolation", ["auto", "copy"])
def test_a_copy_keeps_an_array_that_is_written_to_in_place(
    isolation: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights and counts are those without the callback; one line says what is done, and why."""
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        ours = fit(tmp_path / "with", InPlace(), isolation=isolation)
    theirs = fit(tmp_path / "without", InPlace())
    assert ours.counts == theirs.counts
    assert torch.equal(ours.network[0].weight, theirs.network[0].weight)
    (line,) = [m for m in caplog.messages if "explains a copy of the network" in m]
    assert "MiB, made in" in line
    assert "since giving back leaves counts changed" in line


def test_a_network_that_is_as_it_was_is_borrowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rehearsal's copy proves it; rounds explain the network itself."""
    copied: list[bool] = []
    explain = Explainer.__call__

    def spy(self: Explainer, live: LiveModel, probes: Any) -> Any:
        copied.append(live.stand_in is not None)
        return explain(self, live, probes)

    monkeypatch.setattr(Explainer, "__call__", spy)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        fit(tmp_path, Separable(), isolation="auto")
    assert copied == [True, False, False]
    assert sum("the network is borrowed: after a copy" in m for m in caplog.messages) == 1


def test_borrowing_what_it_harms_is_refused_with_the_cause(tmp_path: Path) -> None:
    """Before the first training batch, with lines that can be pasted."""
    with pytest.raises(ModelChangedError, match=r"in counts\. .*`isolation=\"copy\"`.*trust"):
        fit(tmp_path, InPlace(), isolation="borrow")


@pytest.mark.parametrize("isolation", ["auto", "borrow", "copy"])
def test_what_neither_way_keeps_is_refused_with_the_cause(isolation: str, tmp_path: Path) -> None:
    """A copy writes to a global as well; to copy is not advised where that was tried."""
    with pytest.raises(ModelChangedError, match=r"COUNTS\. ") as raised:
        fit(tmp_path, Global(), isolation=isolation)
    assert ('isolation="copy"' in str(raised.value)) == (isolation == "borrow")


def test_what_cant_be_copied_is_borrowed_and_looked_at(tmp_path: Path) -> None:
    """A refusal says why there was no copy."""

    class Single(InPlace):
        """Can't be copied."""

        def __deepcopy__(self, memo: Any) -> Any:
            """Refuse."""
            raise TypeError("only one")

    class Harmless(Separable):
        """Neither, but harms nothing."""

        __deepcopy__ = Single.__deepcopy__

    fit(tmp_path, Harmless(), isolation="auto")
    with pytest.raises(ModelChangedError, match=r"in counts \(a copy can't .* TypeError: only one"):
        fit(tmp_path, Single(), isolation="auto")
    with pytest.raises(AttributionError, match=r"can be copied, got TypeError: only one\. Pass"):
        fit(tmp_path, Harmless(), isolation="copy")


def test_the_network_itself_is_looked_at_when_it_is_first_borrowed(tmp_path: Path) -> None:
    """A copy that behaves better than its original proves nothing."""

    class Hypocrite(InPlace):
        """Has harmless copies."""

        def __deepcopy__(self, memo: Any) -> Any:
            """Return one."""
            copied = Separable()
            copied.load_state_dict(self.state_dict())
            return copied

    with pytest.raises(ModelChangedError, match=r"giving back does not keep .* in counts"):
        fit(tmp_path, Hypocrite(), isolation="auto")


@pytest.mark.slow
def test_steps_that_are_compiled_are_repeated_on_a_copy(tmp_path: Path) -> None:
    """Nobody can look into them while they run, and nothing is proven by then."""
    combination = Combination(compiled="given", validate="limited", parts=("count",))
    became, is_right = try_drawn(combination, tmp_path)
    assert is_right, became


def test_trust_does_not_look(tmp_path: Path) -> None:
    """The list is longer, and the fit goes on."""
    COUNTS.clear()
    fit(tmp_path, Global(), isolation="trust")
    assert len(COUNTS) > 0


def test_a_callbacks_hook_that_keeps_a_list_of_its_own_is_named(tmp_path: Path) -> None:
    """By the place of the function and its name for the list."""

    class Norms(pl.Callback):
        """Keeps the norms of what the network answers."""

        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            """Hook itself in."""
            self.norms: list[torch.Tensor] = []
            norms = self.norms
            network: Any = pl_module.network
            network.register_forward_hook(
                lambda _m, _a, output: norms.append(output.detach().norm())
            )

    with pytest.raises(ModelChangedError, match=r"copy of .*Norms.*:norms\."):
        fit(tmp_path, Separable(), Norms(), isolation="auto")


def test_a_copy_has_the_weights_that_were_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a moving average that is in place while probes are explained."""
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    explained, averaged = [], []
    explain = Explainer.__call__
    ema = averaging.EMAWeightAveraging(decay=0.5)

    def spy(self: Explainer, live: LiveModel, probes: Any) -> Any:
        assert live.stand_in is not None
        explained.append(live.stand_in().network[0].weight.tolist())
        averaged.append(live.module.network[0].weight.tolist())
        return explain(self, live, probes)

    monkeypatch.setattr(Explainer, "__call__", spy)
    fit(tmp_path, Separable(), ema, isolation="copy")
    assert explained == averaged
    assert explained[1] != explained[2]
    assert explained[2] == ema._average_model.module.network[0].weight.tolist()


def test_an_unknown_way_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ConfigurationError, match="one of auto, borrow, copy, trust, got 'no'"):
        VLMExplainCallback(isolation="no")


DRAWN = [one for one in draw(40, seed=1) if not one.compiled][:8]


@pytest.mark.parametrize("combination", DRAWN, ids=map(str, range(len(DRAWN))))
def test_drawn_fits_are_equal_or_refused_with_the_cause(
    combination: Combination, tmp_path: Path
) -> None:
    """As what the network keeps demands."""
    if combination.averaging and not HAS_AVERAGING:
        pytest.skip("Lightning averages weights from 2.6 on")
    became, is_right = try_drawn(combination, tmp_path)
    assert is_right, f"{describe(combination)}: {became}, had to be {expects(combination)}"


def test_a_drawn_fit_that_trusts_what_harms_differs(tmp_path: Path) -> None:
    """So an equality says something."""
    became, _ = try_drawn(Combination(parts=("array",), isolation="trust"), tmp_path)
    assert became.startswith("differs")
