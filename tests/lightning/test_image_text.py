"""`ImageText` in a real Trainer, with modules that call their model in different ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captioned import Captioned, Contrastive, Joint, Towers, fit, make_clip, scripted
from torch import Tensor

from lightning_vlmxai import Explanation, ImageText, VLMExplainCallback

SCALE = ((0.5,) * 3, (0.25,) * 3)


def make_callback(tmp_path: Path, **settings: Any) -> VLMExplainCallback:
    """Return a callback that explains twelve probes by hiding windows."""
    given: dict[str, Any] = {
        "task": ImageText(),
        "probe_size": 12,
        "normalization": SCALE,
        "method": "occlusion",
        "lag": 0,
        "run_dir": tmp_path / "run",
    }
    return VLMExplainCallback(**({"judge": scripted()} | given | settings))


def by_hand(
    module: Contrastive, indices: list[int], scale: float
) -> list[tuple[str, float, float, bool]]:
    """Return of each probe the caption that is nearest, its probability and cosine, and if right.

    One picture and one caption at a time.
    """
    rows = [Captioned(20, seed=1)[index] for index in indices]
    module.eval()
    found = []
    with torch.no_grad():
        own: dict[str, Tensor] = {}
        for row in rows:
            own[row["caption"]] = F.normalize(module.model.encode_text(row["tokens"][None]))[0]
        for row in rows:
            picture = F.normalize(module.model.encode_image(row["image"][None]))[0]
            cosines = {caption: float(picture @ text) for caption, text in own.items()}
            best = max(cosines, key=lambda caption: cosines[caption])
            powers = {c: torch.tensor(scale * v).double().exp() for c, v in cosines.items()}
            share = float(powers[best] / sum(powers.values()))
            found.append((best, share, cosines[best], best == row["caption"]))
    return found


def explained(callback: VLMExplainCallback) -> list[Explanation]:
    """Return the explanations of the last round."""
    assert callback.latest_round is not None
    return [sample.explanation for sample in callback.latest_round.samples]


class Losses(Contrastive):
    """`forward` answers with a number for each pair, and its transpose, as the first CLIP does."""

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model.encode_image(images), self.model.encode_text(tokens)
        logits = self.model.logit_scale.exp() * F.normalize(found[0]) @ F.normalize(found[1]).T
        return logits, logits.T

    def loss(self, batch: dict[str, Any]) -> Tensor:
        logits, _ = self(images=batch["image"], tokens=batch["tokens"])
        return F.cross_entropy(logits, torch.arange(len(logits)))


@pytest.mark.parametrize(
    ("module", "settings", "network"),
    [
        (Joint, {"output_dict": True}, ""),
        (Joint, {}, ""),
        (Towers, {}, "model.visual"),
        (Losses, {}, "model.visual"),
    ],
)
def test_predicted_is_the_nearest_caption_whatever_a_step_calls(
    module: type[Contrastive], settings: dict[str, Any], network: str, tmp_path: Path
) -> None:
    """Captions, probabilities and right answers are those of one pair at a time, by hand."""
    judge = scripted()
    callback = make_callback(tmp_path, judge=judge)
    made = module(make_clip(**settings))
    fit(tmp_path, made, callback)
    found = explained(callback)
    scale = float(made.model.logit_scale.detach().exp())
    wanted = by_hand(made, [one.probe_index for one in found], scale)
    assert [(one.prediction_name, one.is_correct) for one in found] == [
        (w[0], w[3]) for w in wanted
    ]
    assert [one.confidence for one in found] == pytest.approx([w[1] for w in wanted], abs=1e-5)
    captions = {Captioned(20, seed=1)[one.probe_index]["caption"] for one in found}
    assert len(captions) == 6
    assert {one.label_name for one in found} == captions
    assert {r.label_name for r in judge.requests} <= captions
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["network"] == network
    assert told["agreement"] == 1.0
    assert set(told["class_names"]) == captions
    assert (tmp_path / "run" / "report.html").is_file()
    assert callback.latest_round is not None
    assert callback.latest_round.metrics["attention_drift"] >= 0
