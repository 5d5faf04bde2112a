"""Which places an attention's answer is made of: for image-text models, and for any ViT.

They are formulas of the attention with which a network last looks at the picture (`looking`), and
ask nothing of what the score is: a text's similarity, or a class's logit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tasks import Prediction
from .attention import Look, look_through
from .looking import last_look, look_at, otherwise
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
    last = last_look(subject, "clip_exact")
    return Attribution(
        raw=as_map(shares(last.look), last.layout).relu(), prediction=last.prediction
    )


def gradeclip(subject: Subject, _options: Perturbation) -> Attribution:
    """Return Grad-ECLIP as published, `ReLU(sum_d g_d v_i,d lambda_i)`, with one head.

    Of the last attention, run with one head of full width; `g` is the gradient at its output, so
    that this is another network's from there on, which runs once more for it. Explained is what the
    network itself predicts. With `lambda` see `softened`. Where several queries are read, the sum
    over them.

    Args:
        subject: What is explained; its target layer plays no part.

    Raises:
        AttributionError: If no attention is found that can be read so.

    Source: Zhao et al., 2024, arXiv 2502.18816, section 3. Queries and keys are as they are
    projected, as there; one of the published scripts sends them through the output projection too.
    """
    last = last_look(subject, "gradeclip", is_again=True)
    wiring = last.attention.wiring
    (seen,) = last.again(
        lambda: look_at(
            subject.module,
            [last.attention],
            lambda: score_again(subject, last.prediction),
            one_head=True,
            shown=last.seen[0],
        )
    )
    one = None if wiring is None else wiring.with_one_head(last.look.queries.shape[2])
    look = None if seen is None or one is None else look_through(seen, one)
    if look is None:
        raise otherwise("gradeclip", last.attention)
    places = torch.zeros(look.keys.shape[:2], dtype=torch.bool, device=look.keys.device)
    places[:, last.layout.patches] = True
    relevance = softened(look, places)
    return Attribution(raw=as_map(relevance, last.layout).relu(), prediction=last.prediction)


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


def softened(look: Look, among: Tensor) -> Tensor:
    """Return `sum_d g_d v_i,d lambda_i` of each key, `[B, Lk]`, with full width.

    `lambda_i` is the cosine of the query with a key, min-max normalised over the keys that count.

    Args:
        look: What the attention looked at, with one head.
        among: Which keys count, `[B, Lk]` bool.

    Source: Zhao et al., 2024, arXiv 2502.18816, section 3.
    """
    read = look.read
    with torch.autocast(look.keys.device.type, enabled=False):
        asked, heard = (F.normalize(t, dim=2) for t in (look.queries[:, read], look.keys))
        cosines = asked @ heard.transpose(1, 2)
        counts = among[:, None]
        low = cosines.masked_fill(~counts, torch.inf).amin(dim=2, keepdim=True)
        high = cosines.masked_fill(~counts, -torch.inf).amax(dim=2, keepdim=True)
        soft = (cosines - low) / (high - low).clamp(min=1e-12)
        slopes = look.gradients[:, read] @ look.values.transpose(1, 2)
        return (slopes * soft).sum(dim=1)


def score_again(subject: Subject, prediction: Prediction) -> Tensor:
    """Return the score, `[B]`, that the model gives to a prediction when it is called once more."""
    output = subject.call.run(subject.module)
    with torch.enable_grad():
        return subject.task.score(output, prediction)


def as_map(relevance: Tensor, layout: Layout) -> Tensor:
    """Return one number a token, `[B, L]`, as a map, `[B, h, w]`."""
    tokens = relevance.unsqueeze(2) if layout.rows == 0 else relevance.T.unsqueeze(2)
    return layout.to_map(tokens)[:, 0]
