"""Which file each probe is: as its row, its batch or its data set says; none where none is sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..explain import isolated_rng
from ..records import Probe
from .listed_files import Listed, as_label, doubt_listed, find_listed
from .row_names import RowNames, clean_name


def name_files(
    probes: Sequence[Probe],
    columns: Mapping[int, Mapping[str, str]],
    row_names: RowNames,
    dataset: Any,
) -> tuple[str, list[Probe]]:
    """Return what names the probes' files, or why nothing does, and the probes with their files.

    What the user's own `unpack` said stands ("" is no name), then what went along with the row,
    then what the data set lists for its index.

    Args:
        probes: `file` is what `unpack` said.
        columns: What may name each row, by index and by how it is reached.
        row_names: Says which of these to believe.
        dataset: Whose samples have these indices; None if that is not known.
    """
    told = {probe.index: row_names.choose(columns[probe.index]) for probe in probes}
    rest = [probe for probe in probes if probe.file is None and told[probe.index] is None]
    listed, doubt = _look_up(rest, dataset)
    by: Counter[str] = Counter()
    named = []
    for probe in probes:
        file, row = probe.file, told[probe.index]
        if file is not None:
            file, source = clean_name(file), "`unpack`"
        elif row is not None:
            file, source = row[1], f"the batch's {row[0]}"
        elif probe.index in listed:
            file, source = listed[probe.index].name, f"the data set's `{listed[probe.index].by}`"
        else:
            source = ""
        by[source if file else ""] += 1
        named.append(replace(probe, file=file or None))
    lines = [f"{count} of {len(probes)} by {source}" for source, count in by.items() if source]
    if by[""] and probes:
        lines.append(f"{by['']} of {len(probes)} not known: {doubt or 'they have none'}")
    return "; ".join(lines), named


def is_listed(probes: Sequence[Probe], dataset: Any) -> bool:
    """Return whether what a data set lists is believed, as far as some samples tell."""
    return dataset is not None and bool(_look_up(probes, dataset)[0])


def name_more(
    probes: Sequence[Probe],
    columns: Sequence[Mapping[str, str]],
    row_names: RowNames,
    dataset: Any,
) -> list[Probe]:
    """Return further probes with their files; see `name_files`.

    Args:
        probes: `file` is what `unpack` said.
        columns: What may name each row, by how it is reached.
        row_names: Says which of these to believe.
        dataset: Whose list is believed, by the probes' indices; None if none is.
    """
    named = []
    for probe, own in zip(probes, columns, strict=True):
        file, told = probe.file, row_names.choose(own)
        if file is not None:
            file = clean_name(file)
        elif told is not None:
            file = told[1]
        elif dataset is not None:
            listed = find_listed(dataset, probe.index)
            label = as_label(probe.target)
            fits = listed is not None and (label is None or listed.label in (None, label))
            file = listed.name if listed is not None and fits else None
        named.append(replace(probe, file=file or None))
    return named


def _look_up(probes: Sequence[Probe], dataset: Any) -> tuple[dict[int, Listed], str]:
    """Return what a data set lists for probes, or why that is not to be believed."""
    if not probes:
        return {}, ""
    if dataset is None:
        return {}, "the rows' indices in the data set are not known, and no column names them"
    try:
        with isolated_rng():
            found = {probe.index: find_listed(dataset, probe.index) for probe in probes}
            listed = {index: one for index, one in found.items() if one is not None}
            doubt = doubt_listed(listed, {p.index: p.target for p in probes}, dataset)
    except Exception as error:  # a user's data set may be anything; its names are no need
        return {}, f"the data set's list can't be read ({type(error).__name__}: {error})"
    if doubt is not None:
        return {}, doubt
    return listed, "neither batch nor data set names them"
