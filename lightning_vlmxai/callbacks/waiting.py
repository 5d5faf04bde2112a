"""The waits at the end of a run: what they show, and what cuts them short."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_info

from ..sinks import is_lightning

_WHAT = "Waiting for verdicts"


@contextmanager
def waiting_bar(trainer: pl.Trainer, total: int) -> Iterator[Callable[[int], object] | None]:
    """Show a bar on rank 0, in the manner of the trainer's; none where it shows none.

    Args:
        trainer: At the end of a fit.
        total: What is waited for.

    Yields:
        What to tell each advance to, or None.
    """
    bar = trainer.progress_bar_callback
    is_shown = bar is not None and not getattr(bar, "is_disabled", False)
    if not (total and is_shown and trainer.is_global_zero):
        yield None
    elif is_lightning(bar, "RichProgressBar") and getattr(bar, "progress", None) is not None:
        # Two live displays can't be: a line in Lightning's own.
        progress: Any = getattr(bar, "progress", None)
        task = progress.add_task(_WHAT, total=total)

        def advance(count: int) -> None:
            progress.update(task, advance=count)
            progress.refresh()

        yield advance
    else:
        with Tqdm(desc=_WHAT, total=total, leave=False, mininterval=0, miniters=1) as shown:
            yield shown.update


@contextmanager
def ctrl_c_ends(exception: BaseException) -> Iterator[None]:
    """Let a second Ctrl-C end what is done after the first, which Lightning has ignored by then.

    Args:
        exception: That ends the run.
    """
    is_interrupted = isinstance(exception, KeyboardInterrupt)
    if not is_interrupted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        rank_zero_info("vlmxai: ended at once; what was judged is in the cache, not in the report.")
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
