"""Class names that lie about, and whether they fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from lightning_vlmxai.probes.names import Naming, choose_names, find_names
from tiny import Squares

RED_BLUE = ("red", "blue")


class Wrapped(Dataset[Any]):
    """Holds another data set, and may change its labels."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return 3 if self.inner is self else len(self.inner)


def choose(
    dataset: Any, labels: list[int], outputs: int | None = 2, *, is_indexed: bool = True
) -> Naming:
    """Return what becomes of a data set's names where its rows have these labels."""
    found = find_names(dataset)
    return choose_names(found, dict(enumerate(labels)), outputs, is_indexed=is_indexed)


def named_by(**attributes: Any) -> Any:
    """Return a data set that names its classes so."""
    return SimpleNamespace(**attributes)


@pytest.mark.parametrize(
    "dataset",
    [
        named_by(classes=["red", "blue"]),
        named_by(class_to_idx={"blue": 1, "red": 0}),
        named_by(features={"label": SimpleNamespace(names=["red", "blue"]), "image": object()}),
        named_by(features={"fine": SimpleNamespace(names=["red", "blue"]), "id": object()}),
        Squares(),
        Subset(Squares(), [0, 1, 6, 7]),
        Subset(ConcatDataset([Squares(4), Squares(4)]), [0, 1, 4, 5]),
        ConcatDataset([Squares(2), Squares(2)]),
        Wrapped(Squares(4)),
    ],
)
def test_names_are_found(dataset: Any) -> None:
    """Of torchvision's and Hugging Face's customs, however wrapped."""
    assert choose(dataset, [0, 1, 0, 1]).names == RED_BLUE


def test_a_data_modules_names_count_and_a_modules_do_not() -> None:
    """A network's `classes` may be those that it was trained on elsewhere."""
    module = torch.nn.Module()
    module.classes = ["a", "b"]
    found = find_names(None, [module, named_by(classes=["red", "blue"])])
    assert [one.names for one in found] == [RED_BLUE]


def test_a_wrapper_that_changes_labels_is_seen_by_them() -> None:
    """And the line puts the names where the labels are."""
    naming = choose(Wrapped(Squares(4)), [1, 0, 1, 0])
    assert naming.names is None
    assert "names of Squares are not used, for 4 of 4 rows have another label" in naming.doubt
    assert naming.line in naming.doubt
    assert eval(f"dict({naming.line})") == {"class_names": ["blue", "red"]}  # noqa: S307
    both = choose(Wrapped(Squares(4)), [2, 2, 2, 2], outputs=3)
    assert both.names is None
    dataset = Squares(4)
    dataset.target_transform = lambda label: 1 - label
    assert choose(dataset, [1, 0, 1, 0]).names is None
    assert choose(dataset, [0, 1, 0, 1]).names == RED_BLUE


def test_what_may_be_changed_and_cannot_be_checked_is_not_used() -> None:
    """A wrapper of rows in another order, or a target transform where no labels are listed."""
    shuffled = choose(Wrapped(Squares(4)), [0, 1, 0, 1], is_indexed=False)
    assert shuffled.names is None
    assert "no row can tell" in shuffled.doubt
    assert eval(f"dict({shuffled.line})") == {"class_names": ["red", "blue"]}  # noqa: S307
    hidden = named_by(classes=["red", "blue"], target_transform=abs)
    assert choose(hidden, [0, 1]).names is None
    assert choose(Squares(4), [0, 1, 0, 1], is_indexed=False).names == RED_BLUE


def test_as_many_names_as_outputs() -> None:
    """A folder that lacks a class shifts all that follow."""
    naming = choose(Squares(4), [0, 1, 0, 1], outputs=3)
    assert "they are 2 and the model tells 3 classes apart" in naming.doubt
    assert len(eval(f"dict({naming.line})")["class_names"]) == 3  # noqa: S307
    assert choose(Squares(4), [0, 1, 2], outputs=None).names is None
    assert choose(named_by(), [0, 1], outputs=1000).line.startswith("class_names=open(")
    assert choose(named_by(), [0, 1]).doubt == ""


def test_parts_of_different_names_are_no_names() -> None:
    """Whose would they be?"""
    other = Squares(2)
    other.classes = ("cat", "dog")
    assert choose(ConcatDataset([Squares(2), other]), [0, 1, 0, 1]).names is None


def test_circles_end() -> None:
    """A data set that holds itself."""
    dataset = Wrapped(None)
    dataset.inner = dataset
    assert find_names(dataset) == []
