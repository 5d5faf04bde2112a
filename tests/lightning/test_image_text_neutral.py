"""Training an image-text model with the callback is training it without, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from captioned import (
    Contrastive,
    Features,
    Joint,
    Together,
    Towers,
    decode,
    make_clip,
    make_data,
    make_transformers,
    scripted,
    tokenize,
)
from lightning_vlmxai import ImageText, VLMExplainCallback, ZeroShot
from lightning_vlmxai.tasks import EmbeddingTask
from neutral_state import MemoryLogger, Recorder, State, find_differences, take_state

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*blank_saliency"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing"),  # peft asks for it
]


class Noisy(Towers):
    """Draws noise in every step, so that a generator that was moved would show."""

    def embed(self, batch: dict[str, Any]) -> Any:
        noise = 0.1 * torch.rand_like(batch["image"])
        return super().embed({**batch, "image": batch["image"] + noise * self.training})


def frozen_towers() -> Contrastive:
    """Return a module that trains the texts' side and the last block of the pictures'."""
    module = Towers(make_clip())
    module.model.visual.requires_grad_(False)
    module.model.visual.transformer.resblocks[-1].requires_grad_(True)
    return module


def with_adapters() -> Contrastive:
    """Return a module that trains LoRA's adapters alone."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    return Together(peft.get_peft_model(make_transformers(), config))


def train(
    make: Callable[[], Contrastive], folder: Path, callbacks: list[Any], precision: str
) -> dict[str, State]:
    """Return what a fit went through, from the same seeds at every call."""
    torch.compiler.reset()
    pl.seed_everything(0, verbose=False)
    recorder, logger = Recorder(), MemoryLogger()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        callbacks=[*callbacks, recorder],
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=2,
        precision=precision,  # type: ignore[arg-type]
    )
    module = make()
    trainer.fit(module, make_data(), make_data(20, seed=1))
    return recorder.states | {"end": take_state(trainer, module)} | logger.states


@pytest.mark.parametrize(
    ("make", "task", "precision"),
    [
        (lambda: Joint(make_clip(output_dict=True)), ImageText(decode=decode), "32-true"),
        pytest.param(
            lambda: Joint(torch.compile(make_clip(), backend="eager")),
            ImageText(decode=decode),
            "32-true",
            marks=pytest.mark.slow,
        ),
        (lambda: Noisy(make_clip()), ImageText(decode=decode), "bf16-mixed"),
        (frozen_towers, ImageText(decode=decode), "32-true"),
        (lambda: Together(make_transformers()), ImageText(decode=decode), "bf16-true"),
        (with_adapters, ImageText(decode=decode), "32-true"),
        (lambda: Features(make_transformers("Siglip")), ImageText(decode=decode), "32-true"),
        (
            lambda: Noisy(make_clip()),
            ZeroShot(class_names=["red", "green", "blue"], templates=["a {}"], tokenize=tokenize),
            "32-true",
        ),
    ],
    ids=["joint", "compiled", "bf16-mixed", "frozen", "bf16-true", "lora", "siglip", "zero-shot"],
)
def test_not_a_bit_differs(
    make: Callable[[], Contrastive], task: EmbeddingTask, precision: str, tmp_path: Path
) -> None:
    """Weights, moments, gradients, generators and what is logged are equal after every step."""
    callback = VLMExplainCallback(
        scripted(),
        task=task,
        probe_size=8,
        normalization=((0.5,) * 3, (0.25,) * 3),
        run_dir=tmp_path / "run",
    )
    without = train(make, tmp_path, [], precision)
    with_it = train(make, tmp_path, [callback], precision)
    assert callback.latest_round is not None
    assert callback.latest_round.number == 1
    assert len(callback.latest_round.samples) == 8
    has_words = isinstance(task, ImageText)
    assert all(bool(s.explanation.words) == has_words for s in callback.latest_round.samples)
    assert sum(len(state) for state in without.values()) > 1000
    assert find_differences(with_it, without) == []
