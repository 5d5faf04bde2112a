"""Samples are read in a process of their own, and the data set is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lightning_vlmxai.probes.apart import read_apart

SIZE = 3000
"""Of a record in a file: buffered readers take more at a time."""


class Counting(torch.utils.data.Dataset[int]):
    """Counts how often it is read."""

    reads = 0

    def __getitem__(self, index: int) -> int:
        self.reads += 1
        if index == 9:
            raise OSError("gone")
        return 10 * index


def test_reading_leaves_nothing_behind_in_the_data_set() -> None:
    """It happens in another process, and a failure is no sample."""
    dataset, before = Counting(), torch.get_rng_state()
    assert read_apart(dataset, [4, 9, 2]) == [40, None, 20]
    assert dataset.reads == 0
    assert torch.equal(before, torch.get_rng_state())


class Records(torch.utils.data.Dataset[bytes]):
    """Opens its file at the first read, as data sets of large files do."""

    file: Any = None

    def __init__(self, path: Path, count: int = 40) -> None:
        path.write_bytes(b"".join(bytes([i]) * SIZE for i in range(count)))
        self.path, self.count = path, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> bytes:
        if self.file is None:
            self.file = self.path.open("rb")
        self.file.seek(index * SIZE)
        record: bytes = self.file.read(SIZE)
        return record


def test_a_file_that_is_opened_lazily_stays_closed(tmp_path: Path) -> None:
    """Opened here, it would be shared with workers that are forked later."""
    records = Records(tmp_path / "records")
    assert read_apart(records, [7])[0] == bytes([7]) * SIZE
    assert records.file is None


def test_a_file_that_is_open_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    """A reader trusts that its buffer ends where the file's place is."""
    records = Records(tmp_path / "records")
    assert records[0] == bytes([0]) * SIZE
    assert [one[0] for one in read_apart(records, [30, 35])] == [30, 35]
    assert [set(records[i]) for i in range(1, 6)] == [{1}, {2}, {3}, {4}, {5}]
    records.file.close()
