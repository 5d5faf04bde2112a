"""Words against their literal twins, on text towers of every implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from attention_twins import Literal, mha, separate
from image_text_models import build
from text_towers import TEXTS_READ, captions
from torch import Tensor, nn

from lightning_vlmxai.attribution import Words, explain_words
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain.live import borrowed

pytest.importorskip("open_clip")
pytest.importorskip("transformers")

ENDS = [4, 7, 3]
PLACES = {
    "open_clip": ("model.transformer.resblocks.{}.attn", ENDS),
    "open_clip, later attention": ("model.transformer.resblocks.{}.attn", ENDS),
    "openai": ("model.resblocks.{}.attn", ENDS),
    "coca": ("model.transformer.resblocks.{}.attn", [12] * 3),
    "transformers clip": ("model.text_model.encoder.layers.{}.self_attn", ENDS),
    "transformers siglip": ("model.encoder.layers.{}.self_attn", [11] * 3),
}
"""Where the attentions are, and where each caption's embedding is read."""


def explained(model: nn.Module, **more: Any) -> Words:
    """Return what the words of the captions add."""
    with borrowed(model) as lent:
        return explain_words(lent, captions(), lent, **more)


def twins_of(name: str, model: nn.Module, row: int, *, one_head: bool = False) -> list[Literal]:
    """Return the literal attention of each block to one caption, with gradients of the score."""
    pattern, ends = PLACES[name]
    attentions: list[Any] = [model.get_submodule(pattern.format(i)) for i in range(3)]
    given: list[Tensor] = []
    outputs: list[Tensor] = []
    masks: list[Tensor | None] = []
    for attention in attentions:

        def forward(*args: Any, attention: Any = attention, **kwargs: Any) -> Any:
            tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
            x = next(t for t in tensors if t.ndim == 3)
            is_first = not isinstance(attention, nn.MultiheadAttention) or attention.batch_first
            x = x if is_first else x.transpose(0, 1)
            given.append(x.detach())
            project = separate if hasattr(attention, "q_proj") else mha
            heads = 1 if one_head else 4
            q, k, v = (
                t.view(*t.shape[:2], heads, -1).transpose(1, 2) for t in project(attention, x, x)
            )
            mask = kwargs.get("attn_mask")
            if name == "transformers clip":
                mask = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)
            if mask is not None and mask.ndim == 3:  # a mask a head, all alike
                mask = mask.view(3, 4, *mask.shape[1:])[:, :1]
            products = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
            o = (products if mask is None else products + mask).softmax(3)
            o = (o @ v).transpose(1, 2).flatten(2)
            o.requires_grad_()
            o.retain_grad()
            outputs.append(o)
            masks.append(mask)
            out = F.linear(o, attention.out_proj.weight, attention.out_proj.bias)
            return (out if is_first else out.transpose(0, 1)), None

        attention.forward = forward
    with torch.enable_grad():
        model(captions()).sum().backward()
    for attention in attentions:
        del attention.forward
    model.zero_grad()
    found = []
    for attention, x, o, mask in zip(attentions, given, outputs, masks, strict=True):
        project = separate if hasattr(attention, "q_proj") else mha
        with torch.no_grad():
            q, k, v = project(attention, x, x)
        literal = Literal(q[row], k[row], v[row], 4, ends[row])
        literal.g = o.grad[row, ends[row]].tolist()
        if mask is not None:
            own = mask[row, 0] if mask.ndim == 4 else mask
            literal.mask = own[ends[row]].tolist()
        found.append(literal)
    return found


@pytest.mark.parametrize("name", TEXTS_READ)
@pytest.mark.parametrize("blocks", [1, 8])
def test_exact_is_its_literal_twin(name: str, blocks: int) -> None:
    """Each token's share of the score, summed over the last blocks before any ReLU."""
    model = build(name, models=TEXTS_READ)
    found = explained(model, blocks=blocks)
    pattern, ends = PLACES[name]
    assert found.blocks == tuple(pattern.format(i) for i in range(3))[-blocks:]
    assert found.read.nonzero()[:, 1].tolist() == ends
    for row in range(3):
        sums = torch.zeros(12)
        for twin in twins_of(name, model, row)[-blocks:]:
            sums += torch.tensor(twin.exact())[:12]
        assert found.relevance[row].ne(0).any()
        assert (found.relevance[row] - sums).abs().amax() / sums.abs().amax() <= 1e-5


@pytest.mark.parametrize("name", ["open_clip", "openai", "transformers clip"])
def test_gradeclip_is_its_literal_twin(name: str) -> None:
    """With one head in each of the last blocks, the cosines normalised over the words."""
    model = build(name, models=TEXTS_READ)
    found = explained(model, method="gradeclip")
    for row in range(3):
        sums = torch.zeros(12)
        for twin in twins_of(name, model, row, one_head=True):
            sums += torch.tensor(twin.published(range(1, ENDS[row])))[:12]
        assert (found.relevance[row] - sums).abs().amax() / sums.abs().amax() <= 1e-5


def test_words_are_told_from_start_end_and_padding() -> None:
    """CLIP: between the first and the end; SigLIP and CoCa: all before the padding."""
    clip = explained(build("open_clip", models=TEXTS_READ)).counts
    assert [row.nonzero().flatten().tolist() for row in clip] == [
        list(range(1, end)) for end in ENDS
    ]
    for name in ("coca", "transformers siglip"):
        counts = explained(build(name, models=TEXTS_READ)).counts
        assert counts.sum(dim=1).tolist() == [end + 1 for end in ENDS]
        assert counts[:, 0].all()


def test_a_tower_without_attention_is_refused() -> None:
    """A bag of words has no attention to read."""
    bag = nn.Sequential(nn.EmbeddingBag(64, 8), nn.Linear(8, 1), nn.Flatten(0))
    with pytest.raises(AttributionError, match="a tower without attention"):
        explained(bag)
