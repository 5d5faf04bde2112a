"""A full disk fails everything that is written; it is told once."""

from __future__ import annotations

import errno
import logging

_log = logging.getLogger(__name__)
_told = False


def is_full(error: BaseException) -> bool:
    """Return whether an error says that a disk, or the user's part of it, is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)  # SQLite's


def tell_full(error: BaseException) -> bool:
    """Return whether an error is that of a full disk, and warn of the first since `forget`."""
    global _told
    if not is_full(error):
        return False
    if not _told:
        _told = True
        # Not a `Warning`: on the judge's thread, and as an error, it would cost the answer.
        _log.warning(
            "vlmxai: the disk is full (%s). Training and judging go on; what can't be written of "
            "samples, pictures, answers and report is missing from the run folder.",
            error,
        )
    return True


def forget() -> None:
    """Tell of the next full disk again: another run begins."""
    global _told
    _told = False
