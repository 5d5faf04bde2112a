"""What a network is called with: any arguments, one batch of them, row by row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .errors import AttributionError, expected

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The arguments of one call, taken apart; those with the batch's first axis are its rows.

    Make one with `Call.of` or `Call.of_images`.

    Args:
        leaves: Everything in the arguments that is no container.
        spec: How the leaves make up `(args, kwargs)`.
        rows: Places of the leaves that have one entry a sample.
        picture: Place of the leaf that is the picture, `[B, C, H, W]`.
        size: B.
        read: From what the network answers to what counts of it; all of it if None.
    """

    leaves: tuple[Any, ...]
    spec: Any
    rows: frozenset[int]
    picture: int
    size: int
    read: Callable[[Any], Any] | None = None

    @classmethod
    def of(
        cls,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        size: int,
        picture: Tensor | None = None,
    ) -> Self | None:
        """Return the call of a batch; None if no argument is a picture a sample.

        Args:
            args: Positional arguments; tensors are found in lists, tuples and dicts too.
            kwargs: Keyword arguments.
            size: Number of samples: a tensor whose first axis is as long, and a list of as many
                texts, have one entry a sample.
            picture: The argument that is the picture, where it is known; the first if None.

        Example:
            >>> call = Call.of([torch.zeros(2, 3, 8, 8)], {"age": torch.zeros(2)}, size=2)
            >>> sorted(call.rows), call.images.shape
            ([0, 1], torch.Size([2, 3, 8, 8]))
        """
        leaves, spec = pytree.tree_flatten(
            (tuple(args), dict(kwargs)), is_leaf=lambda part: _are_texts(part, size)
        )
        rows = [i for i, leaf in enumerate(leaves) if _has_rows(leaf, size)]
        pictures = [i for i in rows if _is_picture(leaves[i])]
        if not pictures:
            return None
        return cls(
            leaves=tuple(leaves),
            spec=spec,
            rows=frozenset(rows),
            picture=next((i for i in pictures if leaves[i] is picture), pictures[0]),
            size=size,
        )

    @classmethod
    def of_images(cls, images: Tensor) -> Call:
        """Return the call of a network that is given pictures alone, `[B, C, H, W]`.

        Raises:
            AttributionError: If these are none.
        """
        call = cls.of([images], {}, size=len(images))
        if call is None:
            raise AttributionError(
                expected(
                    "inputs",
                    "pictures [B, C, H, W]",
                    list(images.shape),
                    "Give the network pictures",
                )
            )
        return call

    @property
    def images(self) -> Tensor:
        """The picture's leaf, `[B, C, H, W]`."""
        found: Tensor = self.leaves[self.picture]
        return found

    @property
    def others(self) -> int:
        """How many more tensors have one entry a sample."""
        return sum(isinstance(self.leaves[i], Tensor) for i in self.rows) - 1

    @property
    def keys(self) -> tuple[Any, ...]:
        """What is given beside the picture for the one sample of a call, to be compared.

        Of tensors those of whole numbers, which tokens are; all, where there are no such.
        """
        own = [self.leaves[i] for i in sorted(self.rows) if i != self.picture]
        whole = [one for one in own if not _is_floating(one)]
        return tuple(
            tuple(one.flatten().tolist()) if isinstance(one, Tensor) else tuple(one)
            for one in whole or own
        )

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What calls must have alike to be joined."""
        kept = [
            _shape_of(leaf)
            if i in self.rows
            else (id(leaf) if isinstance(leaf, Tensor) else repr(leaf))
            for i, leaf in enumerate(self.leaves)
        ]
        return (self.spec, self.rows, tuple(kept))

    def run(self, module: nn.Module) -> Any:
        """Return what counts of a module's answer when it is called so."""
        args, kwargs = self.arguments
        return self.answer(module(*args, **kwargs))

    def answer(self, output: Any) -> Any:
        """Return what counts of a network's answer."""
        return output if self.read is None else self.read(output)

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments."""
        args, kwargs = pytree.tree_unflatten(list(self.leaves), self.spec)
        return args, kwargs

    def take(self, index: Tensor) -> Call:
        """Return the call of some samples.

        Args:
            index: Their numbers, `[N]` int64; one may come several times.
        """
        leaves = [
            _take(leaf, index) if i in self.rows else _usable(leaf)
            for i, leaf in enumerate(self.leaves)
        ]
        return replace(self, leaves=tuple(leaves), size=len(index))

    def row(self, number: int) -> Self:
        """Return the call of one sample, as a batch of one, copied to the CPU."""
        # Outside of inference mode, whose tensors no gradient may pass.
        with torch.inference_mode(False), torch.no_grad():
            leaves = [
                _row_of(leaf, number) if i in self.rows else _usable(leaf)
                for i, leaf in enumerate(self.leaves)
            ]
        return replace(self, leaves=tuple(leaves), size=1)

    def with_images(self, images: Tensor) -> Call:
        """Return the call with other pictures, `[B, C, H, W]`."""
        leaves = list(self.leaves)
        leaves[self.picture] = images
        return replace(self, leaves=tuple(leaves), size=len(images))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Call:
        """Return the call on another device.

        Args:
            device: For every tensor.
            dtype: For the pictures, if they are floating; None leaves them.
        """
        moved = [leaf.to(device) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        call = replace(self, leaves=tuple(moved))
        if dtype is not None and call.images.is_floating_point():
            call = call.with_images(call.images.to(dtype))
        return call


def join_calls(calls: Sequence[Call]) -> Call:
    """Return one call of all the samples of calls that have their `shapes` alike."""
    first = calls[0]
    leaves = [
        _join([call.leaves[i] for call in calls]) if i in first.rows else leaf
        for i, leaf in enumerate(first.leaves)
    ]
    return replace(first, leaves=tuple(leaves), size=sum(call.size for call in calls))


def plain(value: Tensor) -> Tensor:
    """Return a torchvision `Image` or `Mask`, or a MONAI `MetaTensor`, as the tensor that it is.

    What it carries beside its values (a file's name, its history) stays behind.
    """
    is_carrier = type(value).__module__.startswith(("torchvision.tv_tensors", "monai."))
    return value.as_subclass(Tensor) if is_carrier else value


def as_call(inputs: Tensor | Call) -> Call:
    """Return a call; a tensor is the pictures of one."""
    return inputs if isinstance(inputs, Call) else Call.of_images(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall(Call):
    """A call of a whole validation step, where no one module goes from picture to logits.

    Its arguments are the step's: the batch and a number that no batch has, so that what a step
    does for the first batch, say, isn't done again.

    Args:
        step: Name of the step.
        part: Dotted name of the part whose output is read; "" is the module itself.
        turn: Which of its calls in the step is read, from 0.
    """

    step: str = "validation_step"
    part: str = ""
    turn: int = 0

    def run(self, module: nn.Module) -> Any:
        """Return what counts of the part's answer while the step runs."""
        answers: list[Any] = []

        def note(_part: nn.Module, _args: Any, output: Any) -> None:
            answers.append(output)

        handle = module.get_submodule(self.part).register_forward_hook(note)
        args, kwargs = self.arguments
        try:
            getattr(module, self.step)(*args, **kwargs)
        finally:
            handle.remove()
        if len(answers) <= self.turn:
            raise AttributionError(
                expected(
                    self.step,
                    f"one that calls {self.part!r} every time",
                    f"{len(answers)} calls",
                    f'Name a network that is always called: `network="{self.part}"`',
                )
            )
        return self.answer(answers[self.turn])


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCall(Call):
    """A call of a module's method, such as "encode_image", in place of the module itself."""

    method: str

    def run(self, module: nn.Module) -> Any:
        """Return what counts of the method's answer."""
        args, kwargs = self.arguments
        return self.answer(getattr(module, self.method)(*args, **kwargs))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCall(Call):
    """A call that makes embeddings of texts, of a part or a method of one; it has no picture.

    Args:
        part: Dotted name of the part; "" is the module itself.
        method: Its method, such as "encode_text"; "forward" where the part itself is called.
    """

    part: str = ""
    method: str = "forward"

    @classmethod
    def of_texts(
        cls, args: Sequence[Any], kwargs: Mapping[str, Any], size: int, *, part: str, method: str
    ) -> TextCall | None:
        """Return the call of a batch; None if it isn't given one text a sample.

        Texts are strings, or numbers of tokens: whole numbers, so that nothing in them was made by
        weights, which would be others in the next round.

        Example:
            >>> tokens = torch.tensor([[1, 2], [1, 3]])
            >>> TextCall.of_texts([tokens], {}, 2, part="", method="encode_text").row(1).keys
            ((1, 3),)
            >>> TextCall.of_texts([tokens.float()], {}, 2, part="", method="encode_text") is None
            True
        """
        leaves, spec = pytree.tree_flatten(
            (tuple(args), dict(kwargs)), is_leaf=lambda leaf: _are_texts(leaf, size)
        )
        rows = frozenset(i for i, leaf in enumerate(leaves) if _has_rows(leaf, size))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not rows or any(leaf.is_floating_point() for leaf in tensors):
            return None
        return cls(
            leaves=tuple(leaves),
            spec=spec,
            rows=rows,
            picture=-1,
            size=size,
            part=part,
            method=method,
        )

    def run(self, module: nn.Module) -> Any:
        """Return what the part makes of the texts."""
        part = module.get_submodule(self.part)
        args, kwargs = self.arguments
        return (part if self.method == "forward" else getattr(part, self.method))(*args, **kwargs)


NO_BATCH = 2**31 - 1
"""A batch's number that no step treats apart."""


def step_call(
    root: nn.Module, step: str, batch: Any, size: int, *, picture: Tensor | None, loader: int
) -> StepCall | None:
    """Return the call of a step on a batch; None if the batch holds no picture a sample.

    Args:
        root: Whose step it is.
        step: Its name.
        batch: Of `size` samples.
        size: B.
        picture: The batch's picture, if it is known.
        loader: Number of the batch's loader.
    """
    known = {"batch_idx": NO_BATCH, "dataloader_idx": loader}
    taken = list(inspect.signature(getattr(root, step)).parameters)[1:]
    kwargs = {name: known[name] for name in taken if name in known}
    call = StepCall.of([batch], kwargs, size, picture)
    return None if call is None else replace(call, step=step)


def _are_texts(part: Any, size: int) -> bool:
    return (
        isinstance(part, (list, tuple))
        and len(part) == size
        and all(isinstance(text, str) for text in part)
    )


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _shape_of(leaf: Any) -> Any:
    return (leaf.dtype, leaf.shape[1:]) if isinstance(leaf, Tensor) else "texts"


def _usable(leaf: Any) -> Any:
    """Return a tensor that gradients may pass, outside of inference mode."""
    return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf


def _take(leaf: Any, index: Tensor) -> Any:
    if isinstance(leaf, Tensor):
        return leaf[index.to(leaf.device)]
    return [leaf[i] for i in index.tolist()]


def _row_of(leaf: Any, number: int) -> Any:
    if isinstance(leaf, Tensor):
        return plain(leaf)[number : number + 1].clone().cpu()
    return [leaf[number]]


def _join(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return [text for part in parts for text in part]


def _has_rows(leaf: Any, size: int) -> bool:
    return _are_texts(leaf, size) or (
        isinstance(leaf, Tensor)
        and not isinstance(leaf, nn.Parameter)
        and leaf.layout is torch.strided
        and leaf.ndim > 0
        and len(leaf) == size
    )


def _is_picture(leaf: Any) -> bool:
    return (
        isinstance(leaf, Tensor)
        and leaf.ndim == 4
        and min(leaf.shape[2:]) > 1
        and (leaf.is_floating_point() or leaf.dtype == torch.uint8)
    )
