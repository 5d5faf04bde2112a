"""Which places an attention's answer is made of: for image-text models, and for any ViT.

They are formulas of the attention with which a network last looks at the picture (`looking`), and
ask nothing of what the score is: a text's similarity, or a class's logit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import Look
from .looking import last_look
from .perturbation import Perturbation
from .reading import Layout
from .subject import Attribution, Subject


def clip_exact(subject: Subject, _options: Perturbation) -> Attribution:
    """Return what each place adds to the score by way of the last attention, `ReLU(r_i)`.

    See `shares`. Nothing before the attention is recorded.

    Args:
        subject: What is explained; its target layer plays no part.

    Raises:
        AttributionError: If no attention is found that can be read so.
    """
    look, layout, prediction = last_look(subject, "clip_exact")
    return Attribution(raw=as_map(shares(look), layout).relu(), prediction=prediction)


def shares(look: Look) -> Tensor:
    """Return what each key adds to the score, `r_i = sum_h A_h[q, i] <g_h, v_h,i>`, `[B, Lk]`.

    With all of the model's heads and its own attention, summed over the queries that the score
    hangs on. Signed; `sum_i r_i = <g, o>`, with `o` the heads' outputs: all that the score has of
    them to first order.

    Args:
        look: What the attention looked at.

    Source: the gradient times the input of a sum, term by term; Grad-ECLIP (`gradeclip`) has the
    same terms with one head, and a cosine in place of the attention.
    """
    read = look.read
    weights, _ = look.attend(read)
    with torch.autocast(weights.device.type, enabled=False):
        slopes, values = (
            t.view(*t.shape[:2], look.heads, t.shape[2] // look.heads)
            for t in (look.gradients[:, read], look.values)
        )
        return torch.einsum("bhrk,brhd,bkhd->bk", weights, slopes, values)


def as_map(relevance: Tensor, layout: Layout) -> Tensor:
    """Return one number a token, `[B, L]`, as a map, `[B, h, w]`."""
    tokens = relevance.unsqueeze(2) if layout.rows == 0 else relevance.T.unsqueeze(2)
    return layout.to_map(tokens)[:, 0]
