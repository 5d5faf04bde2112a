"""A CLIP with LoRA's adapters trains as without the callback; its maps are the merged model's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from image_text_models import Tower
from torch import Tensor, nn

from captioned import Together, decode, fit, make_data, make_transformers, scripted
from lightning_vlmxai import Classification, ImageText, VLMExplainCallback
from lightning_vlmxai.attribution import Subject, attribute
from lightning_vlmxai.explain.live import borrowed

peft = pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*blank_saliency"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing"),  # peft asks for it
]


def with_adapters() -> Together:
    """Return a module whose CLIP trains rank 4 beside its queries' and values' projections."""
    config = peft.LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    return Together(peft.get_peft_model(make_transformers(), config))


def image_features(model: Any, images: Tensor) -> Tensor:
    """Return embeddings of pictures."""
    found = model.get_image_features(pixel_values=images)
    return getattr(found, "pooler_output", found)


def explained(model: nn.Module, images: Tensor, method: str) -> Tensor:
    """Return a method's maps, not normalised."""
    with borrowed(model) as lent:
        subject = Subject(module=lent, layer=lent, inputs=images, task=Classification())
        return attribute(subject, method).raw


def test_maps_of_adapters_are_those_of_the_merged_model(tmp_path: Path) -> None:
    """After two epochs adapters say something, and where they look is where the sum looks."""
    torch.manual_seed(0)
    module = with_adapters()
    explain = VLMExplainCallback(
        scripted(),
        task=ImageText(decode=decode),
        probe_size=8,
        normalization=((0.5,) * 3, (0.25,) * 3),
        run_dir=tmp_path / "run",
    )
    parameters = [p for p in module.parameters() if p.requires_grad]
    assert all(p.numel() == 4 * 32 for p in parameters)
    fit(tmp_path, module, explain)
    assert explain.latest_round is not None
    assert all(s.explanation.words for s in explain.latest_round.samples)
    with torch.no_grad():
        for parameter in parameters:  # two epochs move them by little
            parameter.add_(0.3 * torch.randn_like(parameter))
    images = torch.stack([row["image"] for row in make_data(6).dataset])  # type: ignore[attr-defined]
    torch.manual_seed(0)
    live = Tower(module.model.eval(), image_features)
    merged = copy.deepcopy(live)
    merged.model = merged.model.merge_and_unload()
    bare = copy.deepcopy(live)
    bare.model = bare.model.unload()
    for method in ("clip_exact", "gradeclip", "mmel"):
        found = explained(live, images, method)
        wanted, other = (explained(one, images, method) for one in (merged, bare))
        scale = wanted.amax()
        assert scale > 0
        assert (found - wanted).abs().amax() / scale <= 1e-5
        assert (found - other).abs().amax() / scale > 1e-2
