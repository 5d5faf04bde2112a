"""Give a task what lies outside of any one answer, before each round: embeddings of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Call, join_calls
from ..errors import AttributionError, ConfigurationError, expected
from ..records import Probe
from ..tasks import (
    EmbeddingTask,
    Similarity,
    ZeroShot,
    find_scale,
    join_texts,
    mean_of_texts,
    tensors_in,
    with_texts,
)
from .explainer import Explainer
from .halving import in_batches
from .live import LiveModel
from .requests import to_module
from .watch_texts import TEXT_METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a round is explained by.

    Args:
        explainer: Its task is bound, its class names are the texts' where these are the classes.
        probes: With their classes as targets, and what the validation predicted by these texts.
        doubt: What is not known, in words; empty if nothing.
        sources: The probe whose caption made each of the task's texts; empty where none did.
    """

    explainer: Explainer
    probes: Sequence[Probe]
    doubt: str = ""
    sources: Sequence[Probe] = ()

    def see(self, probes: Sequence[Probe]) -> list[Probe]:
        """Return probes with what a validation predicted for them, by the embeddings it saw."""
        task = self.explainer.task
        if not isinstance(task, Similarity):
            return list(probes)
        return [replace(p, seen=None if p.seen is None else task.see(p.seen)) for p in probes]


def bind(explainer: Explainer, live: LiveModel, probes: Sequence[Probe]) -> Bound:
    """Return the explainer and the probes of a round, the task bound to texts where it needs any.

    Args:
        explainer: As it was settled.
        live: The model; it is left as it was.
        probes: All of the run, on every rank: a caption is ranked among those of all.

    Raises:
        AttributionError: If texts' embeddings can't be had of the model; it says what to pass.
        ConfigurationError: If texts and class names don't fit.

    Example:
        >>> bind(Explainer(), LiveModel(nn.Identity()), []).explainer.task
        Classification(from_probabilities=None)
    """
    task = explainer.task
    if not isinstance(task, EmbeddingTask) or not probes:
        return Bound(explainer=explainer, probes=probes)
    with replace(live, network="").lent() as root:
        if isinstance(task, ZeroShot):
            return _bind_texts(task, explainer, root, live.network, probes)
        return _bind_captions(task, explainer, root, live.network, probes)


def _bind_texts(
    task: ZeroShot, explainer: Explainer, root: nn.Module, network: str, probes: Sequence[Probe]
) -> Bound:
    names = explainer.class_names or task.class_names
    texts = task.texts_of(names)
    features = _encode(task, root, network, [one for of_class in texts for one in of_class])
    directions = mean_of_texts(features, [len(of_class) for of_class in texts])
    similarity, doubt = _make(task, directions, list(range(len(texts))), root, network)
    names = tuple(names or (of_class[0] for of_class in texts))
    bound = replace(explainer, task=similarity, class_names=names)
    return Bound(explainer=bound, probes=Bound(explainer=bound, probes=()).see(probes), doubt=doubt)


def _bind_captions(
    task: EmbeddingTask,
    explainer: Explainer,
    root: nn.Module,
    network: str,
    probes: Sequence[Probe],
) -> Bound:
    features = _embed_captions(explainer, root, network, probes)
    keys = [(one.text or one.call).keys for one in probes]
    classes = _class_of_each(keys, [one.caption for one in probes])
    count = max(classes) + 1
    # Equal tokens have one embedding, to the last bit and in whichever batch.
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    # In the order of their classes, as the bound task has them.
    texts = sorted(sorted(first.values()), key=classes.__getitem__)
    similarity, doubt = _make(task, features[texts], [classes[n] for n in texts], root, network)
    ids: list[set[int]] = [set() for _ in range(count)]
    targets = []
    for probe, own in zip(probes, classes, strict=True):
        known = [] if probe.target is None else [_id_of(probe.target)]
        ids[own].update(known)
        targets.append(torch.tensor([own, *known]))
    similarity = replace(similarity, ids=tuple(map(frozenset, ids)))
    names: list[str | None] = [None] * count
    for probe, own in zip(probes, classes, strict=True):
        names[own] = names[own] or probe.caption
    known_names = tuple(name for name in names if name)
    bound = replace(
        explainer,
        task=similarity,
        class_names=known_names if len(known_names) == count else None,
    )
    sources = [probes[n] for n in texts]
    found = Bound(explainer=bound, probes=(), doubt=doubt, sources=sources)
    labelled = [replace(p, target=t) for p, t in zip(probes, targets, strict=True)]
    return replace(found, probes=found.see(labelled))


def _make(
    task: EmbeddingTask, features: Tensor, classes: Sequence[int], root: nn.Module, network: str
) -> tuple[Similarity, str]:
    """Return the bound task, and what is not known of it."""
    count = max(classes) + 1
    if count < 2:
        raise ConfigurationError(
            expected(
                "texts",
                "of two kinds or more, to be told apart",
                "one text",
                "Raise `probe_size`, or look at the captions",
            )
        )
    texts, class_of_text = join_texts(features, classes, count)
    scale = find_scale(_number(root, network, "logit_scale"), task)
    doubt = ""
    if scale is None:
        name = type(task).__name__
        doubt = (
            "the model has no one parameter `logit_scale`, so confidences are a softmax of plain "
            f"cosines, all near 1 / {count}; pass what the loss multiplies them with, as in "
            f"`task={name}(logit_scale=100.0)`"
        )
    similarity = Similarity(
        texts=texts,
        class_of_text=class_of_text,
        num_classes=count,
        scale=1.0 if scale is None else scale,
        made_by=type(task).__name__,
        bias=_number(root, network, "logit_bias"),
    )
    return similarity, doubt


def _embed_captions(
    explainer: Explainer, root: nn.Module, network: str, probes: Sequence[Probe]
) -> Tensor:
    """Return the embedding of each probe's text, `[N, D]`."""
    calls = [caption_call(explainer, one) for one in probes]
    embed = caption_encoder(explainer, root, network)

    def run(places: list[int]) -> Tensor:
        return embed(join_calls([calls[place] for place in places])).detach().float()

    return torch.stack(in_batches(calls, run, explainer.batch_size))


def caption_call(explainer: Explainer, probe: Probe) -> Call:
    """Return the call that makes the embedding of a probe's caption.

    Raises:
        AttributionError: If the validation showed none.
    """
    if explainer.reading.texts is not None:
        return probe.call
    if probe.text is not None:
        return probe.text
    raise AttributionError(
        expected(
            "validation_step",
            "one that shows how captions are embedded",
            "a network that is given no text or answers with no embedding of it, and no one "
            "`encode_text` or part that is given tokens and makes the embedding",
            "Return both embeddings from `forward(images, tokens)`, or make the texts' in a "
            "method `encode_text(self, tokens)` of the module, and call that once in the step",
        )
    )


def caption_encoder(
    explainer: Explainer, root: nn.Module, network: str
) -> Callable[[Call], Tensor]:
    """Return a function from calls of `caption_call` to embeddings of captions, `[B, D]`.

    Args:
        explainer: Whose reading tells where in an answer they are.
        root: The module, lent.
        network: Name of the part that answers for pictures.
    """
    reading = explainer.reading
    if reading.texts is None:
        device = _device_of(root)
        return lambda call: _embedding_in(call.to(device).run(root))
    module, texts = root.get_submodule(network), with_texts(reading)

    def embed(call: Call) -> Tensor:
        found: Tensor = texts.take(to_module(call, module).run(module))
        return found

    return embed


def _encode(task: ZeroShot, root: nn.Module, network: str, texts: list[str]) -> Tensor:
    """Return the embeddings of texts, `[N, D]`, by the live model."""
    device = _device_of(root)
    if task.encode_texts is not None:
        features = task.encode_texts(root, texts)
    else:
        encode = _find_encoder(root, network)
        parts = []
        for start in range(0, len(texts), 256):
            part: Any = texts[start : start + 256]
            part = part if task.tokenize is None else task.tokenize(part)
            try:
                if hasattr(part, "keys"):  # a mapping, or transformers' BatchEncoding
                    given = {name: _to(part[name], device) for name in part.keys()}  # noqa: SIM118
                    parts.append(_embedding_in(encode(**given)))
                else:
                    parts.append(_embedding_in(encode(_to(part, device))))
            except (TypeError, AttributeError) as error:
                if task.tokenize is not None:
                    raise
                raise ConfigurationError(
                    expected(
                        "tokenize",
                        "a function from a list of texts to what the model's text tower takes",
                        "None, and the texts themselves can't be given to it",
                        'Pass `tokenize=open_clip.get_tokenizer("ViT-B-32")`, or with '
                        "transformers `tokenize=lambda texts: tokenizer(texts, padding=True, "
                        'return_tensors="pt")`',
                    )
                ) from error
        features = torch.cat(parts)
    if features.ndim != 2 or len(features) != len(texts):
        raise AttributionError(
            expected(
                "texts' embeddings",
                f"[{len(texts)}, D], one a text",
                list(features.shape),
                "Pass `encode_texts=lambda module, texts: module.text_tower(tokenize(texts))`",
            )
        )
    return features.to(device)


def _find_encoder(root: nn.Module, network: str) -> Callable[..., Any]:
    """Return the method that embeds texts: of the network, or of what is nearest around it."""
    found = {
        name: getattr(module, method)
        for name, module in root.named_modules()
        for method in TEXT_METHODS
        if callable(getattr(module, method, None))
    }
    around = [name for name in found if _is_around(name, network)]
    if around:
        return found[max(around, key=len)]  # type: ignore[no-any-return]
    if len(found) == 1:
        return next(iter(found.values()))  # type: ignore[no-any-return]
    raise AttributionError(
        expected(
            "model",
            f"one with a method {' or '.join(TEXT_METHODS)}",
            ", ".join(found) or "none",
            "Pass `encode_texts=lambda module, texts: module.text_tower(tokenize(texts))`, a "
            "function to embeddings [N, D]",
        )
    )


def _embedding_in(answer: Any) -> Tensor:
    """Return the one tensor `[N, D]` in what a text tower answers.

    Raises:
        AttributionError: If there are none or several.
    """
    found = [one for one in tensors_in([answer]).values() if one.ndim == 2]
    if len(found) != 1:
        raise AttributionError(
            expected(
                "the text tower's answer",
                "with one tensor [N, D], the embeddings",
                [list(one.shape) for one in found],
                "Make them in a method `encode_text(self, tokens)` of the module that returns "
                "them alone",
            )
        )
    return found[0]


def _class_of_each(keys: Sequence[Any], captions: Sequence[str | None]) -> list[int]:
    """Return a class for each text, counted from 0 as they come: equal in words or tokens is one.

    Example:
        >>> _class_of_each([(1,), (2,), (2,), (3,)], ["a", "b", None, "a"])
        [0, 1, 1, 0]
    """
    parent = list(range(len(keys)))

    def find(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for values in (keys, captions):
        first: dict[Any, int] = {}
        for place, value in enumerate(values):
            if value is not None:
                a, b = find(first.setdefault(value, place)), find(place)
                parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(place), len(numbers)) for place in range(len(keys))]


def _number(root: nn.Module, network: str, name: str) -> float | None:
    """Return the parameter or buffer of one number of that name, nearest around the network."""
    every = [*root.named_parameters(), *root.named_buffers()]
    found = {
        path: value
        for path, value in every
        if path.rpartition(".")[2] == name and value.numel() == 1
    }
    around = [p for p in found if _is_around(p.rpartition(".")[0], network)]
    inside = [p for p in found if p.startswith(f"{network}.")]
    paths = [max(around, key=len)] if around else inside or list(found)
    return float(found[paths[0]].detach()) if len(paths) == 1 else None


def _is_around(name: str, network: str) -> bool:
    """Return whether a module is the network, or holds it."""
    return not name or f"{network}.".startswith(f"{name}.")


def _id_of(target: Tensor) -> int:
    if target.numel() != 1 or target.is_floating_point():
        raise ConfigurationError(
            expected(
                "target",
                "an id, one whole number that a picture's captions have in common, or None",
                f"{target.dtype} {list(target.shape)}",
                "Pass `unpack=lambda row: Item(image=row[0], target=None, caption=row[2])`",
            )
        )
    return int(target)


def _device_of(root: nn.Module) -> torch.device:
    parameter = next(root.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
