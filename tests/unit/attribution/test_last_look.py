"""The attention with which a network last looks at the picture: found, read, or refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from image_text_models import PATCH, SIDE, WIDTH, build, pictures
from torch import Tensor, nn

from lightning_vlmxai import Classification
from lightning_vlmxai.attribution import OF_ATTENTION, Attribution, Subject, attribute
from lightning_vlmxai.calls import Call
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain.live import borrowed

CELLS = SIDE // PATCH


def explained(
    model: nn.Module, images: Tensor | Call | None = None, method: str = "clip_exact"
) -> Attribution:
    """Return what a method says of a borrowed model."""
    with borrowed(model) as lent:
        inputs = pictures() if images is None else images
        subject = Subject(module=lent, layer=lent, inputs=inputs, task=Classification())
        return attribute(subject, method)


class Attending(nn.Module):
    """Four heads, an optional bias of places, and the heads' outputs bare or projected."""

    def __init__(self, *, bias: float = 0.0, turned: bool = False, bare: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.bias = nn.Parameter(bias * torch.randn(CELLS**2 + 1, CELLS**2 + 1))
        self.turned = turned
        self.bare = bare
        self.dense = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (4, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        if self.turned:  # as rotary embeddings do
            angle = torch.arange(x.shape[1])[:, None] / 3
            q, k = (t * angle.cos() + t.roll(1, -1) * angle.sin() for t in (q, k))
        attention = (q @ k.transpose(2, 3) * (WIDTH // 4) ** -0.5 + self.bias).softmax(dim=3)
        o = (attention @ v).transpose(1, 2).flatten(2)
        return o if self.bare else self.dense(o)


class Vit(nn.Module):
    """A class token and two blocks of `Attending`, which may be one and the same."""

    def __init__(self, *, pool: str = "token", shared: bool = False, **more: Any) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        last = Attending(**more)
        self.blocks = nn.ModuleList([last if shared else Attending(), last])
        self.head = nn.Linear(WIDTH, 5)
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, -1), x], dim=1)
        for block in self.blocks:
            x = x + block(F.layer_norm(x, (WIDTH,)))
        if self.pool == "cut":
            x = x.detach()
        return self.head(x.mean(dim=1) if self.pool == "mean" else x[:, 0])


def vit(**more: Any) -> Vit:
    """Return one whose attention is far from even."""
    torch.manual_seed(0)
    net = Vit(**more).eval()
    for block in net.blocks:
        for layer in (block.query, block.key):
            nn.init.normal_(layer.weight, std=2 * WIDTH**-0.5)
    return net


@pytest.mark.parametrize("bare", [True, False])
def test_an_attention_of_ones_own_is_read(bare: bool) -> None:
    """Whatever the class, and whether the module projects what its heads give."""
    net = vit(bare=bare)
    found = explained(net)
    image, block = pictures()[:1], net.blocks[1]
    given: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _m, args: given.append(args[0]))
    logits = net(image)
    handle.remove()
    (x,) = given
    q, k, v = (
        layer(x)[0].view(-1, 4, WIDTH // 4) for layer in (block.query, block.key, block.value)
    )
    slope = net.head.weight[int(logits.argmax())]
    slope = (slope if bare else slope @ block.dense.weight).view(4, -1)
    weights = (torch.einsum("hd,lhd->hl", q[0], k) * (WIDTH // 4) ** -0.5).softmax(dim=1)
    relevance = torch.einsum("hl,lhd,hd->l", weights, v, slope)[1:].view(CELLS, CELLS)
    torch.testing.assert_close(found.raw[0], relevance.relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"bias": 1.0}, "doesn't come out of its queries"),
        ({"turned": True}, "doesn't come out of its queries"),
        ({"shared": True}, "several runs"),
        ({"pool": "mean"}, "whose places the answer is read from"),
        ({"pool": "cut"}, "none .no_grad, detach"),
    ],
)
def test_what_is_not_read_is_refused_with_a_remedy(more: dict[str, Any], reason: str) -> None:
    """A bias of places, rotated keys, shared blocks, averaged tokens and cuts are not guessed."""
    with pytest.raises(AttributionError, match=reason) as caught:
        explained(vit(**more))
    assert 'Pass `method="gradcam"`, or `method="occlusion"`' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_convolutional_tower_is_sent_to_gradcam() -> None:
    """RN50's pooling attends to its map, but is no module that is called for its projections."""
    from image_text_models import rn50

    pytest.importorskip("open_clip")
    with pytest.raises(AttributionError, match='Pass `method="gradcam"`'):
        explained(rn50().eval())


def test_an_attention_to_something_else_is_not_taken() -> None:
    """The last attention to run is the text's, which doesn't see the picture."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.text = vit(), Attending()

        def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
            logits = self.visual(images)
            return logits + self.text(tokens).mean(dim=(1, 2))[:, None]

    model = Both().eval()
    call = Call.of([pictures(), torch.randn(3, CELLS**2 + 1, WIDTH)], {}, size=3)
    assert call is not None
    assert torch.equal(explained(model, call).raw, explained(model.visual).raw)


def test_a_part_that_the_score_does_not_hang_on_is_passed_over() -> None:
    """What attends to the picture later on, for another answer, has no part in the score."""

    class Captions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = vit()
            self.more = Attending()

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            seen: list[Tensor] = []
            handle = self.visual.blocks[0].register_forward_hook(lambda _m, _a, o: seen.append(o))
            logits = self.visual(images)
            handle.remove()
            return {"logits": logits, "caption": self.more(seen[0])}

    model = Captions().eval()
    call = Call.of([pictures()], {}, size=3)
    assert call is not None
    found = explained(model, replace(call, read=lambda answer: answer["logits"]))
    both = explained(model, replace(call, read=lambda answer: answer))

    def beside(answer: dict[str, Tensor]) -> Tensor:
        return torch.cat([answer["logits"], answer["caption"].mean(dim=1) - 1e3], dim=1)

    joined = explained(model, replace(call, read=beside))  # a slope of 0, not none
    assert torch.equal(found.raw, explained(model.visual).raw)
    assert torch.equal(both.raw, found.raw)
    assert torch.equal(joined.raw, found.raw)


class Pools(nn.Module):
    """A probe or two that look at the places, and whose answers are added."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.probe = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pools = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(count)
        )
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        probe = self.probe.expand(len(x), 1, -1)
        return self.head(sum(pool(probe, x, x)[0][:, 0] for pool in self.pools))


def test_looks_side_by_side_are_refused() -> None:
    """Of two that both have a part in the answer, the last one's map would be half of it."""
    torch.manual_seed(0)
    net = Pools(1).eval()
    assert explained(net).raw.any()
    net.pools.append(nn.MultiheadAttention(WIDTH, 4, batch_first=True).eval())
    with pytest.raises(AttributionError, match=r"'pools.1' beside 'pools.0'"):
        explained(net)


def test_one_forward_a_batch_and_nothing_recorded_before() -> None:
    """After the first time a batch costs one forward, and autograd sees the last block alone."""
    net = vit()
    explained(net)
    recorded: list[bool] = []
    net.blocks[0].register_forward_hook(lambda _m, _a, o: recorded.append(o.requires_grad))
    net.head.register_forward_hook(lambda _m, _a, o: recorded.append(o.requires_grad))
    explained(net)
    assert recorded == [False, True]


def test_what_was_found_before_is_found_anew_when_it_has_changed() -> None:
    """Layers that are replaced after the first look are read as they are now."""
    net = vit()
    explained(net)
    other = nn.MultiheadAttention(WIDTH, 8, batch_first=True)
    nn.init.normal_(other.in_proj_weight, std=2 * WIDTH**-0.5)
    net.blocks[1] = _Alone(other.eval())
    assert torch.equal(explained(net).raw, explained(copy.deepcopy(net)).raw)
    net.blocks[1].attention.num_heads, net.blocks[1].attention.head_dim = 2, WIDTH // 2
    assert torch.equal(explained(net).raw, explained(copy.deepcopy(net)).raw)
    net.blocks[1] = vit(bias=1.0).blocks[1]
    with pytest.raises(AttributionError, match="doesn't come out"):
        explained(net)


class _Alone(nn.Module):
    """An attention that is given one tensor and gives one."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("method", sorted(OF_ATTENTION))
def test_the_model_is_left_as_it_was(method: str) -> None:
    """Parameters, `.grad`, flags and hooks are the same afterwards."""
    net = vit().train()
    net.patches.weight.requires_grad_(False)
    for p in net.head.parameters():
        p.grad = torch.full_like(p, 0.25)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = explained(net, method=method)
    assert found.raw.isfinite().all()
    assert found.raw.shape[0] == 3
    assert found.raw.any()
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all((p.grad == 0.25).all() for p in net.head.parameters())
    assert all(p.grad is None for p in net.blocks.parameters())
    assert not net.patches.weight.requires_grad
    assert all(m.training for m in net.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("name", ["open_clip", "transformers clip", "siglip of timm", "timm vit"])
def test_half_precision_and_frozen_towers(name: str) -> None:
    """Under bf16 autocast the maps are those of float32 up to rounding; frozen ones likewise."""
    pytest.importorskip("open_clip")
    model = build(name)
    full = explained(model).raw
    with torch.autocast("cpu", torch.bfloat16):
        half = explained(model)
    assert half.raw.dtype == torch.float32
    alike = F.cosine_similarity(half.raw.flatten(1), full.flatten(1))
    assert alike.min() > 0.97
    for p in model.parameters():
        p.requires_grad_(False)
    # Without gradients of weights some versions of torch multiply by another kernel.
    torch.testing.assert_close(explained(model).raw, full, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    ("name", "targets"), [("transformers clip", ["q_proj", "v_proj"]), ("open_clip", ["attn"])]
)
def test_adapters_count(name: str, targets: list[str]) -> None:
    """LoRA changes the maps as the same weights merged do, in linears and in torch's attention."""
    peft = pytest.importorskip("peft")
    pytest.importorskip("transformers")
    pytest.importorskip("open_clip")
    model = build(name)
    bare = explained(model).raw
    config = peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    if name == "open_clip":
        model.model.visual = peft.get_peft_model(model.model.visual, config)
    else:
        model.model = peft.get_peft_model(model.model, config)
        model.encode = lambda m, x: _pooled(m.get_image_features(pixel_values=x))
    model.eval()
    adapted = explained(model).raw
    if name == "open_clip":
        model.model.visual = model.model.visual.merge_and_unload()
    else:
        model.model = model.model.merge_and_unload()
    torch.testing.assert_close(adapted, explained(model).raw, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(adapted, bare, rtol=1e-2)


def _pooled(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.pooler_output


def test_a_compiled_tower_is_read_as_it_is_written() -> None:
    """`torch.compile` changes nothing."""
    net = vit()
    expected_map = explained(net).raw
    assert torch.equal(explained(torch.compile(net, backend="eager")).raw, expected_map)


def test_a_score_without_slope_has_blank_maps() -> None:
    """A head of zeros, as fresh ones are: no place adds anything."""
    net = vit()
    nn.init.zeros_(net.head.weight)
    assert not explained(net).raw.any()
