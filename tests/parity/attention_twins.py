"""The last look once more, the slow and literal way: one picture, one head, one number at a time.

Which module that is, how its weights lie and what comes behind it are written down here by hand;
no function of the package has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rows = list[list[float]]


class Literal:
    """What one picture's last look is made of, in double lists.

    Args:
        q: Projected queries of one picture, `[Lq][E]`.
        k: Keys, `[Lk][E]`.
        v: Values, `[Lk][E]`.
        heads: How many heads.
        row: The query that the answer is read from.
    """

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, row: int = 0) -> None:
        self.q: Rows = q.double().tolist()
        self.k: Rows = k.double().tolist()
        self.v: Rows = v.double().tolist()
        self.heads, self.row = heads, row
        self.mask: list[float] = [0.0] * len(self.k)
        self.g: list[float] = []
        self.logits = torch.empty(0)

    def weights(self, head: int, heads: int | None = None) -> list[float]:
        """Return one head's attention of the query."""
        size = len(self.q[0]) // (heads or self.heads)
        part = range(head * size, (head + 1) * size)
        products = [
            sum(self.q[self.row][d] * key[d] for d in part) / math.sqrt(size) + bias
            for key, bias in zip(self.k, self.mask, strict=True)
        ]
        top = max(products)
        grown = [math.exp(product - top) for product in products]
        return [one / sum(grown) for one in grown]

    def output(self, heads: int | None = None) -> list[float]:
        """Return what the heads give, side by side."""
        count = heads or self.heads
        size = len(self.v[0]) // count
        given: list[float] = []
        for head in range(count):
            attention = self.weights(head, count)
            given += [
                sum(a * value[d] for a, value in zip(attention, self.v, strict=True))
                for d in range(head * size, (head + 1) * size)
            ]
        return given

    def exact(self) -> list[float]:
        """Return `sum_h A_h[q, i] <g_h, v_h,i>` of each key."""
        size = len(self.v[0]) // self.heads
        found = [0.0] * len(self.k)
        for head in range(self.heads):
            attention = self.weights(head)
            for i, value in enumerate(self.v):
                part = range(head * size, (head + 1) * size)
                found[i] += attention[i] * sum(self.g[d] * value[d] for d in part)
        return found

    def published(self, places: range) -> list[float]:
        """Return Grad-ECLIP's `sum_d g_d v_i,d lambda_i`, lambda over the places."""
        query = self.q[self.row]
        length = math.sqrt(sum(x * x for x in query))
        cosines = [
            sum(x * y for x, y in zip(query, key, strict=True))
            / (length * math.sqrt(sum(y * y for y in key)))
            for key in self.k
        ]
        low, high = min(cosines[i] for i in places), max(cosines[i] for i in places)
        return [
            sum(g * v for g, v in zip(self.g, value, strict=True)) * (cosine - low) / (high - low)
            for value, cosine in zip(self.v, cosines, strict=True)
        ]


def mha(attention: nn.MultiheadAttention, q_x: Tensor, k_x: Tensor) -> list[Tensor]:
    """Return queries, keys and values of torch's, or of one with the same weights."""
    if getattr(attention, "in_proj_weight", None) is not None:
        weights = attention.in_proj_weight.chunk(3)
    else:
        weights = [getattr(attention, f"{name}_proj_weight") for name in "qkv"]
    biases = attention.in_proj_bias.chunk(3)
    sources = (q_x, k_x, k_x)
    return [F.linear(x, w, b) for x, w, b in zip(sources, weights, biases, strict=True)]


def own(attention: Any, q_x: Tensor, k_x: Tensor) -> list[Tensor]:
    """Return them of open_clip's own attention, with its norms of each head."""
    q, k, v = mha(attention, q_x, k_x)
    heads = attention.num_heads

    def normed(x: Tensor, norm: nn.Module) -> Tensor:
        return torch.cat([norm(part) for part in x.chunk(heads, dim=-1)], dim=-1)

    return [normed(q, attention.ln_q), normed(k, attention.ln_k), v]


def separate(attention: Any, q_x: Tensor, k_x: Tensor) -> list[Tensor]:
    """Return them of transformers' CLIP."""
    return [attention.q_proj(q_x), attention.k_proj(k_x), attention.v_proj(k_x)]


def fused(attention: Any, q_x: Tensor, k_x: Tensor) -> list[Tensor]:
    """Return them of timm's, with its norms of each head."""
    q, k, v = attention.qkv(q_x).chunk(3, dim=-1)

    def normed(x: Tensor, norm: nn.Module) -> Tensor:
        return torch.cat([norm(part) for part in x.chunk(attention.num_heads, dim=-1)], dim=-1)

    return [normed(q, attention.q_norm), normed(k, attention.k_norm), v]


def latent(attention: Any, _q_x: Tensor, k_x: Tensor) -> list[Tensor]:
    """Return them of timm's pooling with a latent query."""
    k, v = attention.kv(k_x).chunk(2, dim=-1)
    return [attention.q(attention.latent), k, v]


class _Swap(nn.Module):
    """Gives its layer something else than what it is given."""

    def __init__(self, layer: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.change = layer, change

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(self.change(features))


def look(
    model: nn.Module,
    name: str,
    project: Callable[..., list[Tensor]],
    images: Tensor,
    label: int,
    *,
    behind: str = "",
    one_head: bool = False,
) -> Literal:
    """Return the last look at one picture, with the gradient of a logit there.

    Args:
        model: Whose attention is replaced by the literal one; give a copy.
        name: Of the attention.
        project: Reads its weights.
        images: One picture, `[1, 3, H, W]`.
        label: Which logit.
        behind: The child that is given the heads' outputs; "" if none is.
        one_head: Whether the attention is run with one head of full width, as Grad-ECLIP's is.
    """
    attention: Any = model.get_submodule(name)
    given: list[Tensor] = []

    def note(_m: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor) and t.ndim == 3]
        given[:] = tensors[:2] if len(tensors) > 1 else tensors * 2

    handle = attention.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(images)
        handle.remove()
        is_first = not isinstance(attention, nn.MultiheadAttention) or attention.batch_first
        q, k, v = ((t if is_first else t.transpose(0, 1))[0] for t in project(attention, *given))
    heads = getattr(attention, "num_heads", None) or attention.config.num_attention_heads
    found = Literal(q, k, v, heads)
    made = torch.tensor(found.output(1 if one_head else None), requires_grad=True)

    def swapped(features: Tensor) -> Tensor:
        changed = features.detach().clone()
        (changed if is_first else changed.transpose(0, 1))[0, found.row] = made
        return changed

    if behind:
        setattr(attention, behind, _Swap(getattr(attention, behind), swapped))
        logits = model(images)
    else:
        inner = attention.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            gave = inner(*args, **kwargs)[0].detach().clone()
            row = F.linear(made, attention.out_proj.weight, attention.out_proj.bias)
            (gave if is_first else gave.transpose(0, 1))[0, found.row] = row
            return gave, None

        attention.forward = forward
        logits = model(images)
        del attention.forward
    found.logits = logits.detach()
    found.g = torch.autograd.grad(logits[0, label], made)[0].tolist()
    return found
