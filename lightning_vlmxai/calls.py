"""What a network is called with: any arguments, one batch of them, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .errors import AttributionError, expected


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
    """

    leaves: tuple[Any, ...]
    spec: Any
    rows: frozenset[int]
    picture: int
    size: int

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any], size: int) -> Call | None:
        """Return the call of a batch; None if no argument is a picture a sample.

        Args:
            args: Positional arguments; tensors are found in lists, tuples and dicts too.
            kwargs: Keyword arguments.
            size: Number of samples: a tensor whose first axis is as long has one entry a sample.

        Example:
            >>> call = Call.of([torch.zeros(2, 3, 8, 8)], {"age": torch.zeros(2)}, size=2)
            >>> sorted(call.rows), call.images.shape
            ([0, 1], torch.Size([2, 3, 8, 8]))
        """
        leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
        rows = [i for i, leaf in enumerate(leaves) if _has_rows(leaf, size)]
        pictures = [i for i in rows if _is_picture(leaves[i])]
        if not pictures:
            return None
        return cls(
            leaves=tuple(leaves),
            spec=spec,
            rows=frozenset(rows),
            picture=pictures[0],
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
        """How many more arguments have one entry a sample."""
        return len(self.rows) - 1

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What calls must have alike to be joined."""
        kept = [
            (leaf.dtype, leaf.shape[1:])
            if i in self.rows
            else (id(leaf) if isinstance(leaf, Tensor) else repr(leaf))
            for i, leaf in enumerate(self.leaves)
        ]
        return (self.spec, self.rows, tuple(kept))

    def run(self, module: nn.Module) -> Any:
        """Return what a module gives when it is called so."""
        args, kwargs = self.arguments
        return module(*args, **kwargs)

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
            leaf[index.to(leaf.device)] if i in self.rows else leaf
            for i, leaf in enumerate(self.leaves)
        ]
        return replace(self, leaves=tuple(leaves), size=len(index))

    def row(self, number: int) -> Call:
        """Return the call of one sample, as a batch of one, copied to the CPU."""
        # Outside of inference mode, whose tensors no gradient may pass.
        with torch.inference_mode(False), torch.no_grad():
            leaves = [
                plain(leaf)[number : number + 1].clone().cpu()
                if i in self.rows
                else (leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf)
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
        torch.cat([call.leaves[i] for call in calls]) if i in first.rows else leaf
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


def _has_rows(leaf: Any, size: int) -> bool:
    return (
        isinstance(leaf, Tensor)
        and not isinstance(leaf, nn.Parameter)
        and leaf.layout is torch.strided
        and leaf.ndim > 0
        and len(leaf) == size
    )


def _is_picture(leaf: Tensor) -> bool:
    return (
        leaf.ndim == 4
        and min(leaf.shape[2:]) > 1
        and (leaf.is_floating_point() or leaf.dtype == torch.uint8)
    )
