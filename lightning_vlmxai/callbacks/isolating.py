"""How the model is kept from its own explanation: borrowed where that is proven, else copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TypeVar

from lightning.pytorch.utilities import rank_zero_info

from ..errors import ModelChangedError, expected
from ..explain import Changes, LiveModel, Proof, copy_module, name_few
from ..rounds import Ranks

T = TypeVar("T")


class Isolation:
    """Runs explanations so that training goes on as if there had been none, and looks whether.

    The first one, the rehearsal's, is of a copy of the network, so that what it harms is harmed
    there. If the copy is as it was once it is given back, the network itself is borrowed from then
    on, and the first time it is looked at in the same way; if not, each round explains a copy.

    Args:
        asked: "auto" does that; "borrow" never copies, "copy" always does; "trust" borrows and
            doesn't look.
        ranks: The processes that share the work; they decide alike.
    """

    def __init__(self, asked: str, ranks: Ranks) -> None:
        self._asked = asked
        self._ranks = ranks
        self._way = "borrow" if asked in ("borrow", "trust") else ""
        self._is_seen = asked == "trust"
        self._no_copy = ""

    def run(self, live: LiveModel, work: Callable[[LiveModel], T]) -> T:
        """Return what work returns that explains with the model it is given.

        Args:
            live: The model; it is left as it was.
            work: The same on every rank, where it fails on all or on none.

        Raises:
            ModelChangedError: If something is not as it was, and copying the network can't help.
        """
        if not self._way:
            return self._try(live, work)
        is_copied = self._way == "copy"
        if self._is_seen:
            made = cache(partial(copy_module, live))
            return work(replace(live, stand_in=made) if is_copied else live)
        proof = self._begin(live)
        result = work(replace(live, stand_in=proof.stand_in) if is_copied else live)
        self._is_seen = True
        changes = self._end(proof)
        if changes.outside:
            self._refuse(changes.outside, is_copied=is_copied)
        return result

    def _try(self, live: LiveModel, work: Callable[[LiveModel], T]) -> T:
        """Explain a copy, and decide by what is left behind in it."""
        proof = self._begin(live)
        try:
            result = work(replace(live, stand_in=proof.stand_in))
        except ModelChangedError:
            raise
        except Exception as error:
            if self._asked == "copy":
                raise
            why = error.__cause__ or error
            self._no_copy = f" (a copy can't be explained: {type(why).__name__}: {why})"
            # What can't be copied, or does not run as a copy, is borrowed, and looked at.
            self._way = "borrow"
            return self.run(live, work)
        changes = self._end(proof)
        if changes.outside:
            self._refuse(changes.outside, is_copied=True)
        self._way = "copy" if changes.inside or self._asked == "copy" else "borrow"
        unknown = f"; not looked into: {name_few(proof.opaque)}" if proof.opaque else ""
        if self._way == "borrow":
            told = (
                f"the network is borrowed: after a copy of it was explained, {proof.values} values "
                "in network, hooks and callbacks are as they were"
            )
        else:
            size, seconds = f"{proof.copy_bytes / 2**20:.1f} MiB", f"{proof.copy_seconds:.2f} s"
            told = f"each round explains a copy of the network ({size}, made in {seconds})"
            if changes.inside:
                told += f", since giving back leaves {name_few(changes.inside)} changed"
        rank_zero_info(f"vlmxai: {told}{unknown}")
        return result

    def _begin(self, live: LiveModel) -> Proof:
        with self._ranks.together():
            return Proof(live)

    def _end(self, proof: Proof) -> Changes:
        """Return what differs on any rank."""
        with self._ranks.together():
            own = proof.changes()
        told = self._ranks.gather(own)
        return Changes(
            inside=tuple(dict.fromkeys(path for one in told for path in one.inside)),
            outside=tuple(dict.fromkeys(path for one in told for path in one.outside)),
        )

    def _refuse(self, paths: tuple[str, ...], *, is_copied: bool) -> None:
        keeper = "a copy of the network" if is_copied else "giving back"
        other = ', or pass `isolation="copy"`' if self._asked == "borrow" else ""
        raise ModelChangedError(
            expected(
                "model",
                "one whose explanation leaves all else as it was",
                f"changes that {keeper} does not keep from training, in {name_few(paths)}"
                f"{self._no_copy}",
                "Move what writes there out of forward and hooks, or behind `if self.training`"
                f'{other}. If training does not depend on it, pass `isolation="trust"`',
            )
        )
