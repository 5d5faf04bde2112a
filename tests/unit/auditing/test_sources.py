"""Data sets in the layouts that people have, held to torchvision's own readers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet, VOCSegmentation

from data_sets import VOC_CAT, save, write_coco, write_folder, write_pets, write_voc
from lightning_vlmxai.auditing import open_source
from lightning_vlmxai.errors import ConfigurationError


def test_a_folder_a_class_gives_its_classes_pictures_and_masks(tmp_path: Path) -> None:
    """In the order of ImageFolder; a mask lies in the parallel folder."""
    pictures, masks = write_folder(tmp_path)
    source = open_source(str(pictures), masks=masks)
    assert source is not None
    assert source.classes == ("blue", "red")
    assert len(source) == 8
    assert source.file(4) == pictures / "red" / "0.png"
    assert list(source.labels(4)) == [1]
    with Image.open(masks / "red" / "0.png") as file:
        expected_mask = np.array(file) == 255
    assert np.array_equal(source.mask(4, 1), expected_mask)


def test_pets_are_those_of_torchvision(tmp_path: Path) -> None:
    """Breeds, species and trimaps."""
    root = write_pets(tmp_path)
    peer = OxfordIIITPet(
        str(root), split="test", target_types=("category", "binary-category", "segmentation")
    )
    breeds = open_source(f"oxford-iiit-pet:{root}")
    species = open_source(f"oxford-iiit-pet:{root}:species", split="test")
    assert breeds is not None
    assert species is not None
    assert list(breeds.classes) == peer.classes
    assert species.classes == ("Cat", "Dog")
    assert len(breeds) == len(species) == len(peer) == 6
    for i in range(len(peer)):
        breed, kind, trimap = peer[i][1]
        assert list(breeds.labels(i)) == [breed]
        assert list(species.labels(i)) == [kind]
        assert np.array_equal(breeds.mask(i, breed), np.array(trimap) == 1)


def test_voc_is_that_of_torchvision(tmp_path: Path) -> None:
    """The largest class of a map is the picture's; its pixels are the mask."""
    root = write_voc(tmp_path)
    peer = VOCSegmentation(str(root), image_set="val")
    source = open_source(f"voc:{root}")
    assert source is not None
    for i in range(len(peer)):
        labels = np.array(peer[i][1])
        assert [source.classes[label] for label in source.labels(i)] == ["cat", "dog"]
        assert np.array_equal(source.label_map(i), labels)
        assert np.array_equal(source.mask(i, VOC_CAT - 1), labels == VOC_CAT)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_coco_masks_are_those_of_its_polygons(tmp_path: Path) -> None:
    """Categories in the order of their ids, the larger area first; overlaps are void."""
    pytest.importorskip("pycocotools")
    images, annotations = write_coco(tmp_path)
    source = open_source(f"coco:{images}:{annotations}")
    assert source is not None
    assert source.classes == ("cat", "dog")
    assert [list(source.labels(i)) for i in range(4)] == [[0, 1], [0, 1], [0, 1], []]
    for i in range(3):
        cat, dog = source.mask(i, 0), source.mask(i, 1)
        assert cat.sum() == 144
        assert dog.sum() == 36
        literal = np.zeros((32, 40), np.uint8)
        for y in range(32):
            for x in range(40):
                literal[y, x] = (
                    255 if cat[y, x] and dog[y, x] else 1 if cat[y, x] else 2 if dog[y, x] else 0
                )
        assert np.array_equal(source.label_map(i), literal)
    assert not source.label_map(3).any()


def test_coco_without_its_reader_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a line that can be pasted."""
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(ConfigurationError, match=r'pip install "lightning-vlmxai\[coco\]"'):
        open_source(f"coco:{tmp_path}:{tmp_path / 'a.json'}")


def test_the_name_of_a_data_module_is_no_source() -> None:
    """It is imported elsewhere."""
    assert open_source("my_data.Pets") is None


@pytest.mark.parametrize(
    ("made", "given", "said"),
    [
        ("empty", "empty", "which has none. Pass --data FOLDER"),
        ("", "nowhere", "which is not there. Pass --data FOLDER"),
        ("", "coco:one", r"Expected `data` to be coco:IMAGES:ANNOTATIONS"),
        ("", "voc:", "Expected `data` to be voc:ROOT"),
        ("", "voc:nowhere", "torchvision's VOCSegmentation downloads"),
        ("", "oxford-iiit-pet:nowhere", "OxfordIIITPet\\('nowhere', download=True\\)"),
    ],
)
def test_what_is_no_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, given: str, said: str
) -> None:
    """With what to pass."""
    monkeypatch.chdir(tmp_path)
    if made:
        Path(made).mkdir()
    with pytest.raises(ConfigurationError, match=said):
        open_source(given)


def test_a_file_of_something_else_is_no_coco(tmp_path: Path) -> None:
    """And says what was looked for."""
    pytest.importorskip("pycocotools")
    images, annotations = write_coco(tmp_path)
    for text in ("{", "[]", '{"images": []}'):
        annotations.write_text(text)
        with pytest.raises(ConfigurationError, match="Pass --data coco:val2017"):
            open_source(f"coco:{images}:{annotations}")


def test_masks_that_do_not_match_are_counted_and_named(tmp_path: Path) -> None:
    """Before anything is explained, with the place where the first was looked for."""
    pictures, masks = write_folder(tmp_path)
    (masks / "red" / "1.png").unlink()
    shutil.move(masks / "red" / "2.png", masks / "red" / "two.png")
    with pytest.raises(ConfigurationError, match=r"those of 2 of 8 pictures .*red/1.png, ") as told:
        open_source(str(pictures), masks=masks)
    assert f"The first is looked for at {masks / 'red' / '1.png'}" in str(told.value)


def test_values_of_masks_are_understood_from_all_of_them(tmp_path: Path) -> None:
    """A trimap's object is 1; a value that would change the meaning later is an error."""
    pictures, masks = write_folder(tmp_path, count=100)
    assert open_source(str(pictures), masks=masks) is not None
    place = 100  # is not among those that are looked at before, which are every third
    source = open_source(str(pictures), masks=masks)
    assert source is not None
    odd = masks / "red" / source.file(place).name
    save(np.full((32, 40), 7, np.uint8), odd)
    source = open_source(str(pictures), masks=masks)
    assert source is not None
    with pytest.raises(ConfigurationError, match=rf"7 in {odd}, unlike the others"):
        source.mask(place, 1)


def test_values_that_can_not_be_known_are_asked_for(tmp_path: Path) -> None:
    """And are then taken as they are named."""
    pictures, masks = write_folder(tmp_path, on=2)
    for path in masks.rglob("*.png"):
        with Image.open(path) as file:
            values = np.array(file)
        values[0] = 1
        save(values, path)
    with pytest.raises(ConfigurationError, match=r"Say which are on the object: --mask-values"):
        open_source(str(pictures), masks=masks)
    source = open_source(str(pictures), masks=masks, mask_values=[2])
    assert source is not None
    with Image.open(masks / "blue" / "0.png") as file:
        assert np.array_equal(source.mask(0, 0), np.array(file) == 2)


def test_options_of_other_data_are_refused(tmp_path: Path) -> None:
    """Instead of being passed over."""
    pictures, masks = write_folder(tmp_path)
    with pytest.raises(ConfigurationError, match="Leave --split out"):
        open_source(str(pictures), split="val")
    with pytest.raises(ConfigurationError, match="Leave --masks out"):
        open_source("my_data.Pets", masks=masks)
    with pytest.raises(ConfigurationError, match="Expected `split` to be train or val or trainval"):
        open_source(f"voc:{tmp_path}", split="test")
    with pytest.raises(ConfigurationError, match="Pass --masks FOLDER, of PNG files whose values"):
        open_source(str(pictures), dense=True)
