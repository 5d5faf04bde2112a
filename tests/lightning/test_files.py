"""Each probe is named as its file, against pictures that say themselves which they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    SequentialSampler,
    Subset,
    default_collate,
    random_split,
)

from lightning_vlmxai import Item, VLMExplainCallback, VLMJudge
from lightning_vlmxai.callbacks.watching import _order_of
from lightning_vlmxai.probes import listed_files
from lightning_vlmxai.records import JudgeRequest, Verdict
from lightning_vlmxai.testing import ScriptedJudge
from numbered import COUNT, Own, Quiet, check, explain, make_folder, read_folder
from openai_server import OpenAIServer
from tiny import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled")
ORDER = [(7 * i + 3) % COUNT for i in range(COUNT)]


class ReadInOrder(Own):
    """Reads other files than its list has at an index."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(ORDER[index])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures."""
    return make_folder(tmp_path_factory.mktemp("pictures"))


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda data: data,
    "subset": lambda data: Subset(data, ORDER),
    "split": lambda data: random_split(data, [20, 4], torch.Generator().manual_seed(1))[0],
    "concat": lambda data: ConcatDataset([Subset(data, ORDER[:9]), Subset(data, ORDER[9:])]),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_the_samples_of_a_folder_name_them(
    tmp_path: Path, folder: Path, wrap: Callable[[Any], Any]
) -> None:
    """Through torch's wrappers too."""
    found, told = explain(tmp_path, wrap(read_folder(folder)))
    check(found)
    assert told == "16 of 16 by the data set's `samples`"


LISTS = ("image_files", "image_paths", "files", "filenames", "_images")


@pytest.mark.parametrize(
    ("listed", "cached"), [*((name, False) for name in LISTS), ("files", True)]
)
def test_a_list_of_a_users_data_set_names_them(
    tmp_path: Path, folder: Path, listed: str, cached: bool
) -> None:
    """Whether its files are read when it is asked, or were before."""
    found, _ = explain(tmp_path, Own(folder, listed, cached=cached))
    check(found)


def test_the_list_of_a_reader_and_a_data_frame_name_them(tmp_path: Path, folder: Path) -> None:
    """As timm's data sets have one, and pandas' users the other."""
    for number, (name, data) in enumerate((("reader", "samples"), ("df", "file_name"))):
        own = Own(folder)
        entries = [(str(path), i % 2) for i, path in enumerate(own.own)]
        if name == "reader":
            own.reader = SimpleNamespace(samples=entries)  # type: ignore[attr-defined]
        else:
            own.df = Frame([{data: path} for path, _ in entries])  # type: ignore[attr-defined]
        check(explain(tmp_path / str(number), own)[0])


class Frame(list[Any]):
    """What is asked of a data frame."""

    columns = ("file_name",)

    @property
    def iloc(self) -> Any:
        return [SimpleNamespace(to_dict=lambda row=row: row) for row in self]


def test_a_list_in_another_order_names_nothing(tmp_path: Path, folder: Path) -> None:
    """Its labels are not the rows', or other files are opened; and it is said which."""
    own = Own(folder)
    lie = [(str(own.own[i]), i % 2) for i in ORDER]
    found, told = explain(tmp_path / "a", Own(folder, "samples", lie=lie))
    assert {file for file, _ in found} == {None}
    assert "is read from another file than `samples` lists" in told
    found, told = explain(tmp_path / "b", ReadInOrder(folder, "image_files"))
    assert {file for file, _ in found} == {None}
    assert "is read from another file than `image_files` lists" in told
    data = Own(folder, "samples", lie=lie, cached=True)
    assert "the labels that `samples` lists are not the rows'" in explain(tmp_path / "c", data)[1]


def test_labels_that_a_transform_changes_are_no_contradiction(tmp_path: Path, folder: Path) -> None:
    """Each label became one target."""
    data = read_folder(folder)
    data.target_transform = lambda label: 1 - label
    check(explain(tmp_path, data)[0])


def test_labels_that_agree_are_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than one class: then nothing is read."""
    monkeypatch.setattr(listed_files, "read_apart", lambda *_: pytest.fail("read"))
    data = read_folder(folder)
    listed = {i: listed_files.find_listed(data, i) for i in range(COUNT)}
    found = {i: one for i, one in listed.items() if one is not None}
    targets = {i: torch.tensor(data.targets[i]) for i in range(COUNT)}
    assert len(found) == COUNT
    assert listed_files.doubt_listed(found, targets, data) is None


def test_a_list_of_another_length_names_nothing(tmp_path: Path, folder: Path) -> None:
    """Nobody knows which of its entries are meant."""
    data = Own(folder, "files", lie=[str(path) for path in Own(folder).own[:-1]])
    assert {file for file, _ in explain(tmp_path, data)[0]} == {None}


class Backwards(BatchSampler):
    """Deals indices out from the end; the loader's own `sampler` says nothing of it."""

    def __iter__(self) -> Any:
        yield from [list(range(i, i - 8, -1)) for i in range(COUNT - 1, 0, -8)]


class Whole(Own):
    """Its samples are batches."""

    def __getitem__(self, index: int) -> Any:
        return default_collate([super(Whole, self).__getitem__(i) for i in (index, index - 2)])


def drop_some(rows: list[Any]) -> Any:
    """Leave out what "can't be read": the rows after it move up."""
    return default_collate([row for row in rows if round(float(row[0][1].mean()) * 25.5) != 5])


def test_rows_whose_index_is_not_known_are_not_named(tmp_path: Path, folder: Path) -> None:
    """By a batch sampler of a user's, a shuffled loader, or one that drops rows."""
    data = read_folder(folder)
    order = Backwards(SequentialSampler(data), 8, False)
    loaders = (
        DataLoader(data, batch_sampler=order),
        DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(0)),
        DataLoader(data, 8, collate_fn=drop_some),
        DataLoader(Whole(folder, "files"), batch_size=None),
    )
    for number, loader in enumerate(loaders):
        found, told = explain(tmp_path / str(number), loader)
        assert {file for file, _ in found} == {None}, number
        assert "not known" in told


def test_an_order_is_known_where_nothing_else_deals_the_indices_out(folder: Path) -> None:
    """A loader that is given a batch sampler has a sequential sampler all the same, which lies."""
    data = read_folder(folder)
    assert type(_order_of(DataLoader(data, 8))) is SequentialSampler
    for own in (
        {"batch_sampler": Backwards(SequentialSampler(data), 8, False)},
        {"batch_size": None},
    ):
        loader: Any = DataLoader(data, **own)
        assert type(loader.sampler) is SequentialSampler
        assert _order_of(loader) is None


@pytest.mark.parametrize(
    "beside",
    [str, lambda path: path.stem, lambda path: {"path": str(path), "name": "the same"}],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_what_goes_along_with_the_rows_names_them(
    tmp_path: Path, folder: Path, beside: Any, shuffle: bool
) -> None:
    """In any order, and before whatever the data set lists."""
    data = Own(folder, "files", lie=["wrong.png"] * COUNT, beside=beside)
    loader = {"shuffle": shuffle, "generator": torch.Generator().manual_seed(0)}
    found, told = explain(tmp_path, data, loader=loader)
    check(found)
    assert told.startswith("16 of 16 by the batch's [2]")


class Mapped(Own):
    """Rows of a mapping, as Hugging Face's, WebDataset's and MONAI's users have them."""

    def __getitem__(self, index: int) -> Any:
        picture, label = super().__getitem__(index)
        return {"image": picture, "label": label, **self.rest(index)}

    def rest(self, index: int) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (lambda path: {"__key__": path.stem}, "['__key__']"),
        (lambda path: {"image_id": int(path.stem)}, "['image_id']"),
        (lambda path: {"id": path.stem, "name": path.parent.name}, "['id']"),
        (lambda path: {"id": len(path.parent.name), "file_name": path.name}, "['file_name']"),
        (lambda path: {"image_meta_dict": {"filename_or_obj": str(path)}},
         "['image_meta_dict']['filename_or_obj']"),
        (lambda path: {"paths": str(path)}, "['paths']"),
    ],
)  # fmt: skip
def test_customary_keys_name_rows(tmp_path: Path, folder: Path, rest: Any, told: str) -> None:
    """The surest of them; one that comes again is a class's, not a row's."""

    class Data(Mapped):
        def rest(self, index: int) -> dict[str, Any]:
            found: dict[str, Any] = rest(self.own[index])
            return found

    callback = VLMExplainCallback(ScriptedJudge([Verdict.scored(4)]), probe_size=16)
    trainer = make_trainer(tmp_path, callback)
    trainer.validate(Quiet(), DataLoader(Data(folder), 8), verbose=False)
    assert callback.latest_round is not None
    found = [s.explanation for s in callback.latest_round.samples]
    for e in found:
        number = round(float(e.pixels[1].mean()) * 25.5)
        assert e.file is not None
        assert int(Path(e.file).stem) == number
    (settings,) = tmp_path.rglob("run.json")
    assert json.loads(settings.read_text())["files"] == f"16 of 16 by the batch's {told}"


def test_a_user_names_them(tmp_path: Path, folder: Path) -> None:
    """In any order; "" is no name, whatever batch and data set say."""
    data = Own(folder, "files", beside=lambda path: {"whence": f"scan {path.stem}"})
    loader = {"shuffle": True, "generator": torch.Generator().manual_seed(0)}

    def unpack(row: Any) -> Item:
        return Item(image=row[0], target=row[1], file=row[2]["whence"])

    found, told = explain(tmp_path / "a", data, loader=loader, unpack=unpack)
    assert [file for file, _ in found] == [f"scan {number:02d}" for _, number in found]
    assert told == "16 of 16 by `unpack`"
    found, _ = explain(
        tmp_path / "b", data, unpack=lambda row: Item(image=row[0], target=row[1], file="")
    )
    assert {file for file, _ in found} == {None}


def test_no_judge_is_told_of_a_file(tmp_path: Path, folder: Path) -> None:
    """Not in a request's parts, its headers, or whatever else is sent."""
    with OpenAIServer() as server:
        judge = Listening("loopback", server.base_url, api_key_env=None)
        callback = VLMExplainCallback(judge, probe_size=16, run_dir=tmp_path / "run")
        loaders = DataLoader(read_folder(folder), batch_size=8)
        make_trainer(tmp_path, callback).validate(Quiet(), loaders, verbose=False)
        sent = [f"{seen.headers} {json.dumps(seen.body)}" for seen in server.requests]
    told = [str(getattr(r, n)) for r in judge.heard for n in JudgeRequest.__slots__]
    assert len(sent) >= 16
    assert callback.latest_round is not None
    for sample in callback.latest_round.samples:
        name = Path(sample.explanation.file or "").name
        assert name.endswith(".png")
        assert not any(name in text or str(folder) in text for text in [*sent, *told])
    log = (tmp_path / "run" / "judge_calls.jsonl").read_text()
    assert str(folder) not in log


class Listening(VLMJudge):
    """Remembers what it is asked."""

    def __init__(self, *arguments: Any, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.heard: list[JudgeRequest] = []

    async def judge(self, request: JudgeRequest) -> Verdict:
        self.heard.append(request)
        return await super().judge(request)


def test_a_name_that_can_not_be_written_is_none(tmp_path: Path, folder: Path) -> None:
    """Bytes that are no text would cost the round its samples; a line break its list of names."""
    lie = [f"caf\udce9-{i}.png" if i % 2 else f"two\nlines-{i}.png" for i in range(COUNT)]
    found, _ = explain(tmp_path, Own(folder, beside=lambda path: {"path": lie[int(path.stem)]}))
    assert {file for file, _ in found} == {None}
