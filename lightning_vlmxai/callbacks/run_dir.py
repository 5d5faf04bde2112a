"""Where a run writes: one folder a run, and one run a folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..errors import ConfigurationError, expected
from ..rounds import Ranks
from ..sinks import claim_folder, read_settings
from .environment import is_dev_run

try:
    import fcntl
except ImportError:  # Windows has other locks; there nobody is kept out
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


class RunDirectory:
    """A callback's run folder: as asked for, a resumed run's, its own last one, or a fresh one.

    A fresh one is taken by making it, so that runs that start at once get one each. One that was
    asked for is held by a lock while it is written to.

    Args:
        given: As asked for; None for another.
    """

    def __init__(self, given: Path | None = None) -> None:
        self.given = given
        self.path: Path | None = None
        self._beside: Path | None = None
        self._lock: int | None = None

    def find(
        self, trainer: pl.Trainer, *, ranks: Ranks, saved: str, is_audit: bool = False
    ) -> Path:
        """Return the folder of the run that begins.

        Args:
            trainer: Whose logs it stands beside.
            ranks: Of the trainer.
            saved: Of the run that is resumed; empty if none is.
            is_audit: What the run is.

        Raises:
            ConfigurationError: If another process writes to the folder that was asked for, none
                can, or it holds a run of the other kind.
        """
        log_dir = trainer.log_dir  # a collective: asked on every rank
        beside = _local(log_dir or trainer.default_root_dir)
        before, self._beside = self._beside, beside
        if self.given is not None:
            self.path = self.given
            with ranks.together():
                if trainer.is_global_zero and not is_dev_run(trainer):
                    self._hold(self.given)
                    _check_kind(self.given, is_audit=is_audit)
        elif saved and trainer.strategy.broadcast(Path(saved).is_dir()):
            rank_zero_info(f"vlmxai: resumed, so going on in {saved}; pass run_dir for another")
            self.path = Path(saved)
        elif self.path is None or before != beside:
            base = beside / "vlmxai"
            if trainer.is_global_zero and not is_dev_run(trainer):
                base = claim_folder(base)
            self.path = Path(trainer.strategy.broadcast(str(base)))
        return self.path

    def release(self) -> None:
        """Let others write to the folder; an empty one is taken away. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        elif self.given is None and self.path is not None:
            with contextlib.suppress(OSError):  # it isn't empty, or isn't there
                self.path.rmdir()

    def _hold(self, path: Path) -> None:
        if fcntl is None or self._lock is not None:
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigurationError(
                expected(
                    "run_dir",
                    "a folder that can be written to",
                    f"{path} ({error.strerror})",
                    'Pass another, such as `run_dir="vlmxai"`, or None for a fresh one',
                )
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ConfigurationError(
                expected(
                    "run_dir",
                    "a folder that one run writes to at a time",
                    f"{path}, which another one holds",
                    f'Pass another, such as `run_dir="{path}-2"`, or None for a fresh one',
                )
            ) from error
        except OSError:  # file systems that know no locks
            os.close(lock)
            return
        self._lock = lock


def _check_kind(path: Path, *, is_audit: bool) -> None:
    """Refuse to mix an audit and a fit, whose lines are counted in two ways."""
    settings = read_settings(path)
    if settings and (settings.get("kind") == "audit") is not is_audit:
        raise ConfigurationError(
            expected(
                "run_dir",
                f"a folder without a run, or with {'an audit' if is_audit else 'a fit'}",
                f"{path}, which holds {'a fit' if is_audit else 'an audit'}",
                f'Pass another, such as `run_dir="{path}-2"`',
            )
        )


def _local(folder: str | Path) -> Path:
    """Return a folder of this machine for one that may be a remote store."""
    if "://" not in str(folder):
        return Path(folder)
    rank_zero_warn(
        f"vlmxai: {folder} is a remote store, and samples and pictures are files: they are written "
        f'to {Path("vlmxai").absolute()}. Pass `run_dir="..."` for another local folder.'
    )
    return Path()
