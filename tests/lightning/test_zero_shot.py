"""`ZeroShot` in a real Trainer: classifiers that are made of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captioned import (
    Captioned,
    Features,
    Joint,
    Towers,
    fit,
    make_clip,
    make_data,
    make_trainer,
    make_transformers,
    scripted,
    tokenize,
)
from lightning_vlmxai import ConfigurationError, VLMAuditCallback, VLMExplainCallback, ZeroShot

COLOURS = ["red", "green", "blue"]
TEMPLATES = ["a {} square left", "a {} square right", "{}"]


class Pictures(Towers):
    """Trains on pairs, validates on pictures alone: `forward(images)` answers with embeddings."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self(batch["image"])

    test_step = validation_step


def settings_of(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    """Return what a callback that explains by hiding windows is made with."""
    return {
        "judge": scripted(),
        "normalization": ((0.5,) * 3, (0.25,) * 3),
        "method": "occlusion",
        "run_dir": tmp_path / "run",
    } | settings


@pytest.mark.parametrize("kind", ["forward", "joint", "methods", "transformers"])
def test_predicted_is_the_class_whose_texts_are_nearest_on_average(
    kind: str, tmp_path: Path
) -> None:
    """Probabilities, predictions and right answers are those of one text at a time, by hand."""
    torch.manual_seed(0)
    module: Any = {
        "forward": lambda: Pictures(make_clip()),
        "joint": lambda: Joint(make_clip(output_dict=True)),
        "methods": lambda: Towers(make_clip()),
        "transformers": lambda: Features(make_transformers()),
    }[kind]()
    as_mapping = kind == "transformers"
    task = ZeroShot(
        templates=TEMPLATES,
        class_names=COLOURS,
        tokenize=(lambda texts: {"input_ids": tokenize(texts)}) if as_mapping else tokenize,
    )
    callback = VLMExplainCallback(**settings_of(tmp_path, task=task, probe_size=12, lag=0))
    fit(tmp_path, module, callback)
    assert callback.latest_round is not None
    module.eval()

    def embed(of: str, given: Tensor) -> Tensor:
        if as_mapping:
            answer = getattr(module.model, f"get_{of}_features")(given)
        else:
            answer = getattr(module.model, f"encode_{of}")(given)
        found: Tensor = getattr(answer, "pooler_output", answer)
        return F.normalize(found[0], dim=0)

    with torch.no_grad():
        classes = []
        for colour in COLOURS:
            mean = sum(embed("text", tokenize([t.format(colour)])) for t in TEMPLATES)
            classes.append(F.normalize(mean, dim=0))
        scale = float(module.model.logit_scale.exp())
        for sample in callback.latest_round.samples:
            found = sample.explanation
            row = Captioned(20, seed=1)[found.probe_index]
            picture = embed("image", row["image"][None])
            cosines = torch.stack([picture @ one for one in classes])
            best = int(cosines.argmax())
            assert found.prediction_name == COLOURS[best]
            assert found.confidence == pytest.approx(
                float((scale * cosines).softmax(0)[best]), abs=1e-5
            )
            assert found.label_name == COLOURS[row["label"]]
            assert found.is_correct == (best == row["label"])


@pytest.mark.slow
@pytest.mark.slow
def test_an_audit_judges_every_picture_of_a_classifier_made_of_texts(tmp_path: Path) -> None:
    """`validate()` with `VLMAuditCallback` explains all rows, by texts that are embedded once."""
    task = ZeroShot(
        texts=["a red square left", "a green square left", "a blue square left"], tokenize=tokenize
    )
    callback = VLMAuditCallback(**settings_of(tmp_path, task=task))
    trainer = make_trainer(tmp_path, callback)
    trainer.validate(Pictures(make_clip()), make_data(20, seed=1), verbose=False)
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 20


def test_texts_that_cannot_be_embedded_are_refused_with_a_line(tmp_path: Path) -> None:
    """Without a tokenizer, or a method that embeds, the message says what to pass."""
    callback = VLMExplainCallback(
        **settings_of(tmp_path, task=ZeroShot(class_names=COLOURS), probe_size=4)
    )
    with pytest.raises(ConfigurationError, match=r"tokenize=open_clip.get_tokenizer"):
        fit(tmp_path, Pictures(make_clip()), callback)
