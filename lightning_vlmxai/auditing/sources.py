"""What data sets on a disk hold: pictures, classes, and where the objects are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder, OxfordIIITPet, VOCSegmentation
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import ConfigurationError, ProbeError, expected
from ..probes import understand

Mask = np.ndarray[Any, Any]
VOID = 255
"""Label of pixels that don't count."""
_MEANING = ("above", "only", "without")
_LOOKED_AT = 64
"""Masks that are read before an audit, to know what their values mean."""
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


class Source(Protocol):
    """Pictures of a data set, by number.

    Args:
        classes: Their names, in the order of the numbers in `labels`.
        has_masks: Whether `mask` returns one.
        has_labels: Whether `labels` returns any.
        has_maps: Whether `label_map` returns one.
        numbers_outputs: Whether values of `label_map` are the model's own output numbers.
    """

    classes: tuple[str, ...]
    has_masks: bool
    has_labels: bool
    has_maps: bool
    numbers_outputs: bool

    def __len__(self) -> int: ...

    def file(self, index: int) -> Path:
        """Return where a picture lies."""

    def labels(self, index: int) -> Sequence[int]:
        """Return the classes in a picture, the largest object's first."""

    def mask(self, index: int, label: int) -> Mask:
        """Return where objects of a class are, or of -1 the object, `[h, w]` bool."""

    def label_map(self, index: int) -> Mask:
        """Return the class of each pixel plus one, 0 for none and 255 for void, `[h, w]` uint8."""


class FolderSource:
    """A folder with a folder a class, or with pictures alone; masks in a parallel folder.

    Args:
        root: The folder.
        masks: A folder in which each picture's mask has the picture's place and name.
        values: Of masks, on the object; found out from the masks if None.
        dense: Masks are maps of the model's class numbers, and folders are not classes.

    Raises:
        ConfigurationError: If there is no picture, or a picture has no mask.
    """

    numbers_outputs = True

    def __init__(
        self,
        root: Path,
        masks: Path | None = None,
        values: Sequence[float] | None = None,
        *,
        dense: bool = False,
    ) -> None:
        _check_folder("data", root, "a folder with a folder of pictures for each class")
        has_folders = not dense and any(entry.is_dir() for entry in root.iterdir())
        if has_folders:
            read = ImageFolder(str(root), allow_empty=True)
            self.classes = tuple(read.classes)
            self._files = [(Path(file), label) for file, label in read.samples]
        else:
            self.classes = ()
            files = sorted(file for file in root.rglob("*") if _is_picture(file))
            self._files = [(file, -1) for file in files]
        if not self._files:
            raise ConfigurationError(
                expected(
                    "data",
                    f"a folder with pictures ({', '.join(IMG_EXTENSIONS)})",
                    f"{root}, which has none",
                    "Pass --data FOLDER with a folder of pictures for each class",
                )
            )
        self.has_labels, self.has_maps = has_folders, dense
        self.doubt = ""
        self.has_masks = masks is not None and not dense
        self._masks = [] if masks is None else self._find_masks(root, masks)
        if dense and masks is None:
            raise ConfigurationError(
                expected(
                    "masks",
                    "a folder of label maps, which a segmentation model is held to",
                    None,
                    "Pass --masks FOLDER, of PNG files whose values are the model's class numbers",
                )
            )
        self._values = None if values is None else [float(value) for value in values]
        if self.has_masks and self._values is None:
            self._reading = self._understand()
            self.doubt = self._reading.doubt

    def __len__(self) -> int:
        return len(self._files)

    def file(self, index: int) -> Path:
        """Return where a picture lies."""
        return self._files[index][0]

    def labels(self, index: int) -> Sequence[int]:
        """Return the class by whose folder the picture lies in."""
        label = self._files[index][1]
        return () if label < 0 else (label,)

    def mask(self, index: int, label: int) -> Mask:
        """Return where the object is, `[h, w]` bool."""
        values = read_map(self._masks[index])
        if self._values is not None:
            return np.isin(values, self._values)
        found = frozenset(np.unique(values).tolist())
        if not found <= self._known:
            self._known |= found
            now = self._mean(self._known)
            if [getattr(now, name) for name in _MEANING] != [
                getattr(self._reading, name) for name in _MEANING
            ]:
                raise self._not_known(f"{_told(found)} in {self._masks[index]}, unlike the others")
        on: Mask = self._reading.read(values).numpy()
        return on

    def label_map(self, index: int) -> Mask:
        """Return the number of the model's class of each pixel, `[h, w]` uint8."""
        return read_map(self._masks[index])

    def _find_masks(self, root: Path, masks: Path) -> list[Path]:
        _check_folder("masks", masks, "a folder")
        lying = {p.relative_to(masks).with_suffix(""): p for p in masks.rglob("*")
                 if _is_picture(p)}  # fmt: skip
        names = [file.relative_to(root).with_suffix("") for file, _ in self._files]
        lacking = [self._files[i][0] for i, name in enumerate(names) if name not in lying]
        if lacking:
            shown = ", ".join(str(path.relative_to(root)) for path in lacking[:3])
            example = masks / lacking[0].relative_to(root).with_suffix(".png")
            raise ConfigurationError(
                expected(
                    "masks",
                    "a folder with a mask for each picture, of the picture's place and name",
                    f"{masks}, without those of {len(lacking)} of {len(names)} pictures ({shown}"
                    f"{', ...' if len(lacking) > 3 else ''})",
                    f"The first is looked for at {example}",
                )
            )
        return [lying[name] for name in names]

    def _understand(self) -> Any:
        """Return what the values of masks mean, from some of all parts of the data."""
        step = max(1, len(self._masks) // _LOOKED_AT)
        looked_at = self._masks[::step]
        self._known: frozenset[float] = frozenset().union(
            *(np.unique(read_map(path)).tolist() for path in looked_at)
        )
        return self._mean(self._known)

    def _mean(self, values: frozenset[float]) -> Any:
        try:
            return understand(values)
        except ProbeError:
            raise self._not_known(_told(values)) from None

    def _not_known(self, got: str) -> ConfigurationError:
        return ConfigurationError(
            expected(
                "masks",
                "of values whose meaning is known (0 and 1, 0 and 255, a trimap's 1, 2 and 3, or "
                "class numbers with 0 for the ground)",
                got,
                "Say which are on the object: --mask-values '[1]'",
            )
        )


class PetsSource:
    """The Oxford-IIIT Pet data set, as torchvision lays it out.

    Args:
        root: The folder that holds `oxford-iiit-pet`.
        split: "trainval" or "test".
        by: "breed", 37 classes, or "species", two.
    """

    has_masks = has_labels = True
    has_maps = numbers_outputs = False

    def __init__(self, root: Path, split: str, by: str) -> None:
        read = _read(OxfordIIITPet, "oxford-iiit-pet", root, split=split)
        self.classes = tuple(read.bin_classes if by == "species" else read.classes)
        self._labels = read._bin_labels if by == "species" else read._labels
        self._images, self._segs = read._images, read._segs

    def __len__(self) -> int:
        return len(self._images)

    def file(self, index: int) -> Path:
        """Return where a picture lies."""
        return Path(self._images[index])

    def labels(self, index: int) -> Sequence[int]:
        """Return the pet's breed or species."""
        return (self._labels[index],)

    def mask(self, index: int, label: int) -> Mask:
        """Return the pet without the border of the trimap, `[h, w]` bool."""
        return np.equal(read_map(Path(self._segs[index])), 1)

    def label_map(self, index: int) -> Mask:
        """Return where the pet is, as its class; its border is void."""
        trimap = read_map(Path(self._segs[index]))
        found = np.where(trimap == 1, self._labels[index] + 1, 0)
        return np.where(trimap == 3, VOID, found).astype(np.uint8)


class VOCSource:
    """PASCAL VOC's segmentation set, as torchvision lays it out.

    Args:
        root: The folder that holds `VOCdevkit`.
        split: "train", "val" or "trainval".
    """

    classes: tuple[str, ...] = VOC_CLASSES
    has_masks = has_labels = has_maps = True
    numbers_outputs = False

    def __init__(self, root: Path, split: str) -> None:
        years = sorted(path.name[3:] for path in (root / "VOCdevkit").glob("VOC20*"))
        year = years[-1] if years else "2012"
        read = _read(VOCSegmentation, "voc", root, image_set=split, year=year)
        self._images, self._maps = read.images, read.masks

    def __len__(self) -> int:
        return len(self._images)

    def file(self, index: int) -> Path:
        """Return where a picture lies."""
        return Path(self._images[index])

    def labels(self, index: int) -> Sequence[int]:
        """Return the classes in a picture, the largest area first."""
        areas = np.bincount(self.label_map(index).ravel(), minlength=256)[1 : len(self.classes) + 1]
        return [int(label) for label in np.argsort(-areas, kind="stable") if areas[label]]

    def mask(self, index: int, label: int) -> Mask:
        """Return where a class is, `[h, w]` bool."""
        return np.equal(self.label_map(index), label + 1)

    def label_map(self, index: int) -> Mask:
        """Return the class of each pixel plus one, `[h, w]` uint8."""
        return read_map(Path(self._maps[index]))


def read_map(path: Path) -> Mask:
    """Return the values of a mask's file, `[h, w]`; a palette's numbers are labels.

    Raises:
        ConfigurationError: If it has colours.
    """
    with Image.open(path) as file:
        values = np.array(file)
    if values.ndim == 3 and (values[..., :1] == values[..., :3]).all():
        values = values[..., 0]
    if values.ndim != 2:
        raise ConfigurationError(
            expected(
                "masks",
                "of one value a pixel",
                f"{path}, which has {values.shape[2]} channels",
                "Save masks as PNG files in grey or with a palette",
            )
        )
    return values


def _read(reader: Any, name: str, root: Path, **arguments: Any) -> Any:
    try:
        return reader(str(root), download=False, **arguments)
    except (RuntimeError, OSError, ValueError) as error:
        raise ConfigurationError(
            expected(
                "data",
                f"{name}:ROOT, where ROOT holds what torchvision's {reader.__name__} downloads",
                f"{root} ({str(error).split(' You can use')[0]})",
                f'To fetch it: python -c "from torchvision.datasets import {reader.__name__}; '
                f"{reader.__name__}('{root}', download=True)\"",
            )
        ) from None


def _check_folder(option: str, path: Path, rule: str) -> None:
    if not path.is_dir():
        what = "a file" if path.exists() else "which is not there"
        raise ConfigurationError(
            expected(option, rule, f"{path}, {what}", f"Pass --{option} FOLDER")
        )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMG_EXTENSIONS and path.is_file()


def _told(values: Any) -> str:
    shown = ", ".join(f"{value:g}" for value in sorted(values)[:6])
    return f"{len(values)} values, {shown}{', ...' if len(values) > 6 else ''}"
