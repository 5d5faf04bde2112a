"""Several ranks: the figures of one, on all of them, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

import lightning_vlmxai
import ranks_script
from curves import read_lines
from lightning_vlmxai.callbacks.environment import is_sharded
from lightning_vlmxai.sinks.audit_folder import read_lines as audit_lines
from openai_server import OpenAIServer, verdict

HERE = Path(ranks_script.__file__).parent
SCENARIOS = [
    "validate", "fit", "neutral", "judge_fails", "explaining_fails", "one_probe", "stream",
    "resume", "sync_batch_norm", "paid", "faults", "controls", "audit",
    "image_text", "shortcuts", "panel",
]  # fmt: skip

Told = dict[str, Any]


def start(*command: str) -> None:
    """Run a script of ours; fail with what it printed."""
    paths = [str(HERE), str(Path(lightning_vlmxai.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2500:]


pytestmark = pytest.mark.slow
"""Two processes each train a dozen times, in half a minute of both cores."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two ranks, launched by torchrun, wrote what they found."""
    out = tmp_path_factory.mktemp("ranks")
    with OpenAIServer(lambda _: verdict(4)) as server:
        launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
        start(*launcher, ranks_script.__file__, str(out), *SCENARIOS, "--base-url", server.base_url)
    return out


@pytest.fixture(scope="module")
def told(folder: Path) -> list[Told]:
    """Return what each rank found."""
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_ranks_find_the_matrix_and_figures_of_one(told: list[Told], tmp_path: Path) -> None:
    """On fixed weights and thirteen probes; what Lightning returns is the same on both ranks."""
    alone = ranks_script.validate(ranks_script.Scene(tmp_path, 1, ""))
    first, second = (rank["validate"] for rank in told)
    assert first == second
    assert first["matrix"] == {str(index): q for index, q in alone["matrix"].items()}
    assert first["labels"] == alone["labels"]
    assert first["metrics"] == pytest.approx(alone["metrics"])
    assert first["logged"] == pytest.approx(alone["logged"])
    assert first["metrics"]["coverage"] == 1


def test_two_ranks_rank_the_captions_of_both(told: list[Told], tmp_path: Path) -> None:
    """Predictions, of captions that lie on either rank, are those of a single process."""
    alone = ranks_script.image_text(ranks_script.Scene(tmp_path, 1, ""))
    first, second = (rank["image_text"] for rank in told)
    assert first == second
    assert first["captions"] == [list(one) for one in alone["captions"]]
    assert first["confidences"] == pytest.approx(alone["confidences"], abs=1e-5)
    assert first["words"] == alone["words"] == [c[2].split() for c in first["captions"]]
    assert first["shares"] == pytest.approx(alone["shares"], abs=1e-5)
    assert first["matrix"] == {str(index): q for index, q in alone["matrix"].items()}


def test_two_ranks_share_the_controls_of_one(
    told: list[Told], folder: Path, tmp_path: Path
) -> None:
    """Both know all five verdicts, which count in no other figure."""
    alone = ranks_script.controls(ranks_script.Scene(tmp_path, 1, ""))
    first, second = (rank["controls"] for rank in told)
    assert first["metrics"] == second["metrics"] == pytest.approx(alone["metrics"])
    assert {"judge/auc", "judge/auc_lower", "judge/alarm"} <= first["metrics"].keys()
    assert first["logged"] == pytest.approx(alone["logged"])
    assert first["metrics"]["judge/answered"] == 1
    for run in (folder / "controls" / "run", tmp_path / "run"):
        assert len(read_lines(run / "controls.jsonl")) == 5
    without = told[0]["validate"]["metrics"]
    assert {k: v for k, v in first["metrics"].items() if "judge/" not in k} == without


@pytest.mark.filterwarnings("ignore:.*right answers rest on")
def test_two_ranks_find_the_shortcut_of_one(told: list[Told], folder: Path, tmp_path: Path) -> None:
    """Rank 0 tries it on the probes of both; the other waits, and both end together."""
    alone = ranks_script.shortcuts(ranks_script.Scene(tmp_path, 1, ""))
    first, second = (rank["shortcuts"] for rank in told)
    assert first == second
    assert first["epochs"] == alone["epochs"]
    texts, bearers = [], []
    for run in (folder / "shortcuts" / "run", tmp_path / "run"):
        (found,) = json.loads((run / "shortcuts.json").read_text())["shortcuts"]
        texts.append(found["text"])
        bearers.append([of["probe"] for of in found["bearers"]])
        assert len(read_lines(run / "gate.jsonl")) == 1
    assert texts[0] == texts[1]
    assert "Erasing it turns 12 of 12 predictions" in texts[0]
    assert bearers[0] == bearers[1]


@pytest.mark.parametrize(
    "scenario", ["fit", "judge_fails", "explaining_fails", "one_probe", "stream", "paid", "panel"]
)
def test_all_ranks_know_the_same(told: list[Told], scenario: str) -> None:
    """Figures, samples and, where there is one, the gate's decision."""
    assert told[0][scenario] == told[1][scenario]


def test_all_ranks_draw_the_same(told: list[Told]) -> None:
    """Some verdicts stand, on both ranks; those that are judged are shared."""
    drawn = told[0]["panel"]["drawn"]
    assert drawn == told[1]["panel"]["drawn"]
    assert 0 < sum(is_reused for *_, is_reused in drawn) < 13
    assert told[0]["panel"]["metrics"]["coverage"] == 1


def test_all_ranks_stop_together(told: list[Told]) -> None:
    """The gate fires on the same step; monitors read the same."""
    step, waited = told[0]["fit"]["ended"]
    assert waited == 2
    assert step < 8 * 2
    assert told[0]["fit"]["monitored"]["vlmxai/coverage"] == 1


def test_a_rank_whose_judge_is_out_costs_its_share(told: list[Told]) -> None:
    """The other rank's probes are judged; the run goes on to its end."""
    assert told[0]["judge_fails"]["reasons"] == [None, "judge_error"] * 3 + [None]
    assert told[0]["judge_fails"]["metrics"]["coverage"] == 4 / 7


def test_a_rank_that_can_t_explain_costs_its_share(told: list[Told]) -> None:
    """Its probes are missing and counted; the reason is known everywhere."""
    found = told[1]["explaining_fails"]
    assert (found["missing"], found["failure"]) == (3, "ValueError: no idea")
    assert (found["metrics"]["coverage"], found["metrics"]["unscored"]) == (4 / 7, 3)


def test_a_rank_without_probes_takes_part(told: list[Told]) -> None:
    """One probe, two ranks."""
    assert told[1]["one_probe"]["metrics"]["coverage"] == 1
    assert len(told[1]["one_probe"]["labels"]) == 1


def test_ranks_that_see_other_data_give_each_its_share(told: list[Told]) -> None:
    """Rank 0's stream has only reds, which is label 0, and rank 1's only blues."""
    assert told[0]["stream"]["labels"] == told[1]["stream"]["labels"]
    assert sorted(Counter(told[1]["stream"]["labels"]).values()) == [3, 4]


def test_weights_are_bit_identical_with_and_without_the_callback(told: list[Told]) -> None:
    """On each of two ranks, with a layer that nothing reaches and batch norm buffers."""
    for rank in told:
        assert rank["neutral"]["with"] == rank["neutral"]["without"]
    weights = [{k: v for k, v in t["neutral"]["with"].items() if "running" not in k} for t in told]
    assert weights[0] == weights[1]


def test_two_ranks_resume_as_if_never_interrupted(told: list[Told]) -> None:
    """With two rounds open, every curve is equal to the last digit."""
    found = told[0]["resume"]
    assert found["parts"] == found["whole"]
    assert list(found["whole"]["vlmxai/average_score"]) == ["1", "3", "5", "7"]


def test_synchronised_batch_norm_is_explained_without_the_other_ranks(told: list[Told]) -> None:
    """Rank 0 explains four probes alone, and the module trains on as it did."""
    assert told[0]["sync_batch_norm"] == [4, True]


def test_one_rank_s_fault_ends_all_with_the_same_error(told: list[Told]) -> None:
    """A wrong key, a key that is missing, a layer that isn't there: by kind and words."""
    kinds = {"judge": "JudgeError", "check": "ConfigurationError", "layer": "AttributionError"}
    for name, kind in kinds.items():
        (one, words), (other, own_words) = (rank["faults"][name] for rank in told)
        assert one == other == kind
        assert words.removesuffix(" (Rank 1 found this; all end with it.)") == own_words
    assert "wrong key" in told[0]["faults"]["judge"][1]


def test_ranks_share_one_run_folder(folder: Path, told: list[Told]) -> None:
    """Each line of the call log is whole, each call is in it, rank 0 writes the samples once."""
    run = folder / "paid" / "run"
    calls = read_lines(run / "judge_calls.jsonl")
    assert {call["reason"] for call in calls} == {None}
    by_round = [{c["probe"] for c in calls if c["round"] == number} for number in (-1, 0, 1)]
    assert list(map(len, by_round)) == [2, 7, 7]
    samples = read_lines(run / "samples.jsonl")
    assert [(s["round"], s["probe"]) for s in samples] == [
        (number, probe) for number in (0, 1) for probe in sorted(by_round[1])
    ]
    assert told[0]["paid"]["metrics"]["coverage"] == 1


@pytest.mark.slow
def test_ranks_that_lightning_spawns_write_what_one_rank_would(tmp_path: Path) -> None:
    """`ddp_spawn` pickles the callback into new processes; the rounds are complete."""
    start(ranks_script.__file__, str(tmp_path), "spawned", "--ranks", "1")
    rounds = read_lines(tmp_path / "spawned" / "run" / "rounds.jsonl")
    assert [(r["number"], r["step"], r["coverage"]) for r in rounds] == [(0, 1, 1), (1, 3, 1)]


def test_strategies_that_shard_parameters_are_known() -> None:
    """FSDP, tensor parallel and DeepSpeed's stage 3 are; its stages 1 and 2 and DDP are not."""
    deepspeed = [object.__new__(DeepSpeedStrategy) for _ in range(4)]
    for stage, strategy in enumerate(deepspeed):
        strategy.config = {"zero_optimization": {"stage": stage}}
    assert [is_sharded(strategy) for strategy in deepspeed] == [False, False, False, True]
    assert is_sharded(FSDPStrategy())
    assert is_sharded(ModelParallelStrategy())
    assert not is_sharded(ranks_script.DDPStrategy())


def test_two_ranks_audit_what_one_audits(told: list[Told], folder: Path, tmp_path: Path) -> None:
    """Each sample on one rank, the row that pads asked by none, lines and figures of one."""
    alone = ranks_script.audit(ranks_script.Scene(tmp_path, 1, ""))
    first, second = (rank["audit"] for rank in told)
    assert sorted([*first["asked"], *second["asked"]]) == alone["asked"] == list(range(33))
    assert first["repeated"] + second["repeated"] == 1
    assert first["logged"] == second["logged"] == alone["logged"]
    kept = ("probe", "score", "quadrant", "label", "prediction", "confidence", "pixels")
    found = [
        sorted(
            tuple(line[name] for name in kept) for line in audit_lines(place / "run", "validate")
        )
        for place in (folder / "audit", tmp_path)
    ]
    assert found[0] == found[1]
