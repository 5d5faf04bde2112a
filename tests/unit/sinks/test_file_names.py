"""Captions and tables name the file, where it is known."""

from __future__ import annotations

from dataclasses import replace

from lightning_vlmxai.records import Sample
from lightning_vlmxai.sinks.pictures import caption
from lightning_vlmxai.sinks.tensorboard import _sample_words
from lightning_vlmxai.sinks.wandb import COLUMNS, _row
from samples import make_round, make_sample


def named(file: str | None) -> Sample:
    """Return a sample of a file."""
    sample = make_sample(score=4)
    return replace(sample, explanation=replace(sample.explanation, file=file))


def test_a_caption_ends_with_the_files_own_name() -> None:
    """Without its folders, and with nothing in it that acts."""
    bare = caption(named(None))
    assert caption(named("val/cats/7.png")) == f"{bare} · 7.png"
    assert caption(named("a/\x1b[31mred.png")) == f"{bare} · [31mred.png"
    assert "7.png" not in bare


def test_tensorboards_text_names_it() -> None:
    """Escaped, as all that is not ours."""
    assert "7\\.png" in _sample_words(named("val/7.png"))


def test_a_row_of_the_table_has_all_of_the_path() -> None:
    """Beside the probe; nothing where it is not known."""
    place = COLUMNS.index("file")
    for file in ("val/7.png", None):
        sample = named(file)
        row = _row(make_round(sample), sample)
        assert len(row) == len(COLUMNS)
        assert row[place] == file
