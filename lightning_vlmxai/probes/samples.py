"""What a data set's sample or a row of a loader's batch holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calls import plain
from ..errors import ProbeError, expected
from ..tasks import DENSE, EmbeddingTask, Task

IMAGES = ("image", "pixel_values", "img", "input", "inputs", "x")
LABELS = ("label", "labels", "target", "targets", "y", "class")
MASKS = ("reference_mask", "mask", "masks")
CAPTIONS = ("caption", "captions", "text", "texts", "sentence", "title")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sample of a data set, or one row of a batch, taken apart.

    Args:
        image: The picture, `[C, H, W]`, or an array or PIL image of it; None if the row holds none.
        target: Ground truth, anything that `torch.as_tensor` takes, or a PIL image of labels.
        reference_mask: Where the object is, `[H, W]` or `[1, H, W]`, of values that mean what is
            usual (`understand`); or None.
        file: Path or id of the sample; "" for none, looked for in the batch and in the data set if
            None.
        index: What an audit knows the sample by, and no other has: a whole number from 0 to 2**53;
            found out if None.
        caption: The text that belongs to the picture, in words (`ImageText`).
    """

    image: Tensor | None
    target: Any
    reference_mask: Any = None
    file: str | None = None
    index: int | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        """Take arrays and PIL images for tensors, and subclasses of tensors for plain ones."""
        object.__setattr__(self, "image", as_tensor(self.image, is_picture=True))
        object.__setattr__(self, "target", as_tensor(self.target))


def unpack_item(sample: Any, *, dense: bool = False) -> Item:
    """Return a sample or row taken apart, for the common shapes of one.

    Args:
        sample: `(image, target)`, `(image, target, reference_mask)`, where what follows and is
            no mask (a name, an id) is passed over; or a mapping, dataclass or named tuple with
            fields that are customary: `image`, `pixel_values`, `img`, `input` or `x`; `label`,
            `target`, `y` or `class`; `reference_mask` or `mask`.
        dense: The task has one label a pixel: `mask` is the target, unless the label is a map.

    Raises:
        ProbeError: For anything else.

    Example:
        >>> import torch
        >>> unpack_item((torch.zeros(3, 4, 4), 7, "cat_7.jpg")).target
        7
    """
    fields = fields_of(sample)
    if fields is not None:

        def first(*keys: str) -> Any:
            return next((fields[key] for key in keys if key in fields), None)

        image, target, mask = first(*IMAGES), first(*LABELS), first(*MASKS)
        if dense and not _is_mask(target):
            target, mask = first("mask", "masks"), fields.get("reference_mask")
    elif isinstance(sample, Sequence) and not isinstance(sample, str) and len(sample) >= 2:
        image, target = sample[:2]
        mask = next((part for part in sample[2:] if _is_mask(part)), None)
    else:
        image = target = mask = None
    has_image = image is None and fields is not None
    if has_image or _is_image(image):
        item = Item(image=image, target=target, reference_mask=mask)
        if _is_target(item.target):
            return item
    paths = paths_in(sample)
    raise ProbeError(
        expected(
            "data set sample",
            "(image, label) or (image, label, reference_mask), or a mapping of such names",
            _describe(sample),
            "Pass `unpack`, a function from your sample to lightning_vlmxai.Item, such as "
            f"`unpack=lambda row: {paths.item}`",
        )
    )


def unpack_unlabelled(row: Any, unpack: Callable[[Any], Item] = unpack_item) -> Item:
    """Return a row taken apart that may have no label; its target is None then.

    Args:
        row: As `unpack` takes it, or a picture alone, alone in a sequence, or with other fields.
        unpack: Is tried first.

    Raises:
        ProbeError: For anything else.

    Example:
        >>> import torch
        >>> unpack_unlabelled([torch.zeros(3, 4, 4), "7.jpg"]).target is None
        True
    """
    try:
        return unpack(row)
    except ProbeError:
        fields, image = fields_of(row), row
        if fields is not None:
            image = next((fields[key] for key in IMAGES if key in fields), None)
            has_label = any(key in fields for key in LABELS)
        else:
            has_label = False
            if isinstance(row, Sequence) and not isinstance(row, str):
                image, has_label = (row[0] if row else None), any(map(_is_target, row[1:]))
        if has_label or not _is_image(image):
            raise
        return Item(image=image, target=None)


unpack_dense = partial(unpack_item, dense=True)


def unpack_captioned(row: Any) -> Item:
    """Return a row of a picture and its caption taken apart; its target is None.

    Args:
        row: A mapping, dataclass or named tuple with fields that are customary: `image` and the
            like, `reference_mask` or `mask`, and `caption`, `text`, `sentence` or `title` for the
            words, if it has any; or `(image, ...)`, in which the one string is the caption.

    Raises:
        ProbeError: For anything else.

    Example:
        >>> unpack_captioned((torch.zeros(3, 4, 4), torch.ones(8), "a cat")).caption
        'a cat'
    """
    fields = fields_of(row)
    if fields is not None:
        image = next((fields[key] for key in IMAGES if key in fields), None)
        words = [fields[key] for key in CAPTIONS if isinstance(fields.get(key), str)]
        mask = next((fields[key] for key in MASKS if _is_mask(fields.get(key))), None)
    else:
        parts = row if isinstance(row, Sequence) and not isinstance(row, str) else [row]
        image, words = parts[0] if parts else None, [one for one in parts if isinstance(one, str)]
        words = words if len(words) == 1 else []
        mask = next((part for part in parts[1:] if _is_mask(part)), None)
    if _is_image(image):
        return Item(
            image=image, target=None, reference_mask=mask, caption=words[0] if words else None
        )
    raise ProbeError(
        expected(
            "data set sample",
            "(image, tokens, caption), or a mapping of such names",
            _describe(row),
            "Pass `unpack`, a function from your sample to lightning_vlmxai.Item, such as "
            f"`unpack=lambda row: Item(image={paths_in(row).image}, target=None, "
            'caption=row["caption"])`',
        )
    )


def unpack_for(task: Task | None) -> Callable[[Any], Item]:
    """Return what takes rows apart for a task."""
    if isinstance(task, EmbeddingTask) and task.has_captions:
        return unpack_captioned
    return unpack_dense if isinstance(task, DENSE) else unpack_item


def batch_size(batch: Any) -> int | None:
    """Return how many samples a batch has: the length of its first tensor; None without one.

    Example:
        >>> import torch
        >>> batch_size({"name": ["a", "b"], "image": torch.zeros(2, 3, 4, 4)})
        2
    """
    tensors = [leaf for leaf in _leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim > 0]
    return len(tensors[0]) if tensors else None


def take_row(batch: Any, row: int, size: int) -> Any:
    """Return one sample of a collated batch: what the usual collating made, undone.

    Tensors as long as the batch are indexed, and so are lists of as many texts or numbers;
    mappings, tuples, lists and dataclasses keep their fields; the rest stays as it is.

    Args:
        batch: Of `size` samples.
        row: Which one.
        size: How many there are.

    Example:
        >>> import torch
        >>> take_row([torch.zeros(2, 3), torch.tensor([5, 6]), ("a", "b")], 1, 2)[1:]
        [tensor(6), 'b']
    """
    if isinstance(batch, Tensor):
        batch = plain(batch)
        return batch[row] if batch.ndim > 0 and len(batch) == size else batch
    fields = fields_of(batch)
    if fields is not None:
        return {key: take_row(value, row, size) for key, value in fields.items()}
    if isinstance(batch, (list, tuple)):
        if len(batch) == size and not any(isinstance(part, Tensor) for part in batch):
            return batch[row]
        return [take_row(part, row, size) for part in batch]
    return batch


def fields_of(sample: Any) -> Mapping[Any, Any] | None:
    """Return a mapping, named tuple or dataclass as a mapping; None for anything else."""
    if isinstance(sample, Mapping):
        return sample
    if isinstance(sample, tuple) and hasattr(sample, "_asdict"):
        found: Mapping[Any, Any] = sample._asdict()
        return found
    if dataclasses.is_dataclass(sample) and not isinstance(sample, type):
        return {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
    # Hugging Face's BatchEncoding and the like: a mapping in all but its class.
    data = getattr(sample, "data", None)
    return data if isinstance(data, Mapping) else None


def _leaves(batch: Any) -> list[Any]:
    fields = fields_of(batch)
    if fields is not None:
        return [leaf for value in fields.values() for leaf in _leaves(value)]
    if isinstance(batch, (list, tuple)):
        return [leaf for part in batch for leaf in _leaves(part)]
    return [batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """How the parts of a row are reached, as code; those that are not found stay a guess."""

    image: str
    target: str
    mask: str | None = None

    @property
    def item(self) -> str:
        """What makes an `Item` of a row."""
        return f"Item(image={self.image}, target={self.target})"

    @property
    def item_with_mask(self) -> str:
        """The same, with a place for a mask."""
        return f"Item(image={self.image}, target={self.target}, reference_mask={{}})"


def paths_in(sample: Any) -> Paths:
    """Return how image, label and mask are reached in a sample, by customs and by what they are.

    Example:
        >>> paths_in({"scan": np.zeros((4, 4, 3), "uint8"), "file": "a.png", "dx": 3}).item
        "Item(image=row['scan'], target=row['dx'])"
    """
    fields = fields_of(sample)
    parts: list[tuple[Any, Any]] = []
    if fields is not None:
        parts = list(fields.items())
    elif isinstance(sample, Sequence) and not isinstance(sample, str):
        parts = list(enumerate(sample))

    def find(names: Sequence[str], fits: Callable[[Any], bool], *taken: str) -> str | None:
        known = [name for name in names if fields is not None and name in fields]
        order = [*((n, fields[n]) for n in known if fields is not None), *parts]
        for key, value in order:
            if fits(value) and f"row[{key!r}]" not in taken:
                return f"row[{key!r}]"
            inner = value if isinstance(value, Mapping) else {}
            for name in names:
                if name in inner and fits(inner[name]):
                    return f"row[{key!r}][{name!r}]"
        return None

    image = find(IMAGES, _is_image) or "row[0]"
    # What stands before a picture is a number of its own: an index, an id.
    place = next((n for n, (key, _) in enumerate(parts) if f"row[{key!r}]" == image), 0)
    parts = parts[place:] + parts[:place]
    target = find(LABELS, _is_number, image) or find(LABELS, _is_target, image) or "row[1]"
    return Paths(image=image, target=target, mask=find(MASKS, _is_mask, image, target))


def as_tensor(value: Any, *, is_picture: bool = False) -> Any:
    """Return a picture or a map of labels as a plain tensor; other things as they are.

    Arrays and PIL images have their channels brought to the front where they are behind.

    Args:
        value: Anything.
        is_picture: A palette's numbers are colours, not labels.
    """
    if isinstance(value, Tensor):
        return plain(value)
    if hasattr(value, "getbands") and hasattr(value, "convert"):  # PIL
        is_usual = value.mode in ("L", "RGB", "I", "F") or value.mode.startswith("I;")
        is_usual |= value.mode in ("1", "P") and not is_picture
        value = np.array(value if is_usual else value.convert("RGB"))
    if not isinstance(value, np.ndarray) or value.ndim < 2 or value.dtype.kind not in "biuf":
        return value
    if value.ndim == 3 and value.shape[0] not in (1, 3) and value.shape[2] in (1, 3, 4):
        value = value.transpose(2, 0, 1)
    if value.dtype.byteorder == ">":
        value = value.astype(value.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(value))


def _is_image(part: Any) -> bool:
    found = as_tensor(part)
    return isinstance(found, Tensor) and found.ndim >= 2


def _is_number(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.ndim == 0
    return isinstance(part, (int, float, np.number))


def _is_target(part: Any) -> bool:
    if part is None or isinstance(part, (str, bytes, Mapping)):
        return False
    try:
        torch.as_tensor(part)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _is_mask(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.ndim >= 2
    if isinstance(part, (str, bytes, Mapping)) or part is None:
        return False
    try:
        return np.asarray(part).ndim >= 2
    except (TypeError, ValueError):
        return False


def _describe(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"a mapping with the keys {sorted(map(str, sample))}"
    if isinstance(sample, Sequence) and not isinstance(sample, str):
        return "(" + ", ".join(_describe(part) for part in sample) + ")"
    if isinstance(sample, Tensor):
        return f"tensor {list(sample.shape)}"
    return type(sample).__name__
