"""The probe set, and how it is chosen and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError, expected
from ..records import Probe
from ..tasks import Output, Reading
from .normalizations import Normalization
from .samples import Item, unpack_item


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """The probes of a run, and what was learnt of their data.

    Args:
        probes: In order of their indices.
        fingerprint: Changes with any index or pixel.
        class_names: In the order of the labels, as the data set names them; None if it does not.
        network: Dotted name of the network that the validation called; "" is the module itself.
        answer: Dotted name of the part whose output is read; the network, but where the step as a
            whole is explained.
        reading: How the network's answers are read.
        files: What names the probes' files, or why nothing does.
    """

    probes: tuple[Probe, ...]
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    network: str = ""
    answer: str = ""
    reading: Reading = field(default_factory=Reading)
    files: str = ""

    def __len__(self) -> int:
        return len(self.probes)

    def describe(self) -> dict[str, str]:
        """Return what is explained, and what names the probes' files, in plain values."""
        return {"network": self.answer, "files": self.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How probes are chosen and read; see `VLMExplainCallback` for each.

    `are_first`: the probes stand for the first rows, of which all that come after are read alike.
    """

    size: int
    seed: int = 0
    normalization: Normalization | None = None
    unpack: Callable[[Any], Item] = unpack_item
    picture: Callable[[Any], Any] | None = None
    network: str | None = None
    output: Output | None = None
    watch_classes: tuple[str, ...] = ()
    min_per_class: int = 8
    are_first: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            got = repr(self.size)
            raise ConfigurationError(expected("probe_size", "at least 1", got, "Pass 64, say"))
