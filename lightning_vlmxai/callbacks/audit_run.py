"""One validation, test or prediction as an audit: every row explained, judged and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from .. import disk
from ..calls import Call
from ..errors import ConfigurationError, ProbeError, expected
from ..explain import (
    Explainer,
    KnownTargets,
    LiveModel,
    bind,
    disagreement,
    find_disagreements,
    spread,
)
from ..judges import FailureReporter, Judge
from ..probes import Passed, ProbeSet, ProbeStream, Streamed
from ..records import Explanation, Probe, Round
from ..rounds import Ranks
from ..sinks import AuditCount, AuditFolder, close_audit, find_done, read_settings
from .audit_queue import AuditQueue
from .audit_settings import AuditSettings
from .isolating import Isolation
from .map_check import MapCheck
from .measuring import measure_rows
from .names import check_names
from .progress import AuditProgress

LOOK, LOOK_BYTES = 64, 2**28
"""How many rows are looked at before the first is read, and how large their answers may get: what
they show goes for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """What a rank tells of its rows: how many no network answered, and how many it wrote.

    Args:
        missing: Rows that no network answered.
        rows: Rows that it submitted.
        is_cut: The run is to end, and not all of them are written.
    """

    missing: int
    rows: int
    is_cut: bool


class AuditRun:
    """What belongs to one call of the trainer. Knows no Trainer.

    Every rank has one, and writes files of its own. They look at their first rows together, so
    that all read alike; from then on each goes at its own pace until the end.

    Args:
        stage: "validate", "test" or "predict".
        judge: Scores the masked pictures.
        explainer: As it was asked for; layer and class names are found with the first rows.
        stream: Of the rows.
        settings: Of the audit.
        failures: Tells of the judge's.
        run_dir: Where all goes; what it holds of this stage is gone on with.
        model: Of it, for `run.json`: its name, and what else has to be the same to go on.
        ranks: The processes that share the work.
        epoch: Of the trained model.
        step: Likewise.
        is_over: Asked in every wait whether the run is to end: then it is cut short.
    """

    def __init__(
        self,
        *,
        stage: str,
        judge: Judge,
        explainer: Explainer,
        stream: ProbeStream,
        settings: AuditSettings,
        failures: FailureReporter,
        run_dir: Path,
        model: Mapping[str, str],
        ranks: Ranks,
        epoch: int = 0,
        step: int = 0,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        disk.forget()
        self.run_dir = run_dir
        self._judge, self._asked, self._explainer = judge, explainer, explainer
        self._stream, self._settings = stream, settings
        self._model = dict(model)
        self._ranks, self._is_over = ranks, is_over
        self._isolation = Isolation("auto", ranks)
        self._queue = AuditQueue(
            judge,
            stage=stage,
            threshold=settings.threshold,
            failures=failures,
            max_pending=settings.max_pending,
            is_over=is_over,
        )
        self._head = Round(
            number=0, stage=stage, epoch=epoch, step=step, fingerprint="", samples=(), metrics={}
        )
        self._held: list[Passed] = []
        self._is_settled = False
        self._network = ""
        self._done: dict[int, str] = {}
        self._now: set[int] = set()
        self._missing = 0
        self._check, self._targets = MapCheck(), KnownTargets()

    @property
    def progress(self) -> AuditProgress:
        """How far this rank has come."""
        return self._queue.progress

    def begin(self, weights: str) -> None:
        """Begin with a model.

        Args:
            weights: Changes with any parameter or buffer.
        """
        self._model["weights"] = weights

    def see(self, live: LiveModel, passed: Passed) -> None:
        """Explain the rows of a batch whose step has ended, as soon as it is known how.

        Raises:
            VLMExplainError: If the model can't be explained, or the judge is away.
        """
        if passed.found is None:
            self._missing += passed.size
        if self._is_settled:
            self._explain(live, passed)
            return
        self._stream.take(passed)
        self._held.append(passed)
        held = sum(one.found.answer_bytes for one in self._held if one.found is not None)
        if sum(one.size for one in self._held) >= LOOK or held >= LOOK_BYTES:
            self._settle(live)

    def finish(self, live: LiveModel) -> AuditCount | None:
        """Wait for all verdicts, and return what the audit comes to: the same on every rank.

        None where the run is to end before all are in: a part of the rows is no figure of all.
        """
        if not self._is_settled:
            self._settle(live)
        self._queue.drain()
        told = self._ranks.gather(
            _End(missing=self._missing, rows=self._queue.submitted, is_cut=self._is_over())
        )
        if any(one.is_cut for one in told):
            return None
        with self._ranks.together():
            count = None if self._ranks.rank else self._count(told)
        found = self._ranks.first(count)
        assert found is not None  # noqa: S101 - rank 0 has counted
        return found

    def conclude(self) -> None:
        """Write the verdicts that are in or come within a moment: the run ends here."""
        self._queue.give_up()

    def close(self) -> None:
        """End the judge's thread. Safe to call twice."""
        self._queue.close()

    def _settle(self, live: LiveModel) -> None:
        """Find out by the first rows, all ranks together, how every row is read and explained."""
        probe_set = self._isolation.run(live, self._look)
        # The second time what was copied before is borrowed, and proven.
        self._isolation.run(live, lambda lent: self._check_look(lent, probe_set))
        self._network = probe_set.network
        widths = self._ranks.gather([self._stream.width_of(passed) for passed in self._held])
        width = next((w for own in widths for w in own if w is not None), None)
        with self._ranks.together():
            if self._ranks.rank == 0:
                self._begin(probe_set, width)
        self._done = find_done(self.run_dir, self._head.stage)
        self.progress.total = self._stream.due
        folder = AuditFolder(
            self.run_dir,
            self._head,
            rank=self._ranks.rank,
            pictures=-(-self._settings.pictures // self._ranks.size),
            rows=self._stream.due,
            judge=self._judge.name,
        )
        self._queue.write_to(folder)
        if self._done:
            done = f"{len(self._done):,} rows are done"
            rank_zero_info(f"vlmxai: going on in {self.run_dir}, where {done}")
        held, self._held, self._is_settled = self._held, [], True
        for passed in held:
            self._explain(live, passed)

    def _look(self, live: LiveModel) -> ProbeSet:
        """Return what the first rows tell, and settle layer, names and reading."""
        stream, ranks = self._stream, self._ranks
        with ranks.together():
            mine = stream.tell(live)
        told = ranks.gather(mine)
        with ranks.together():
            own = stream.choose(told)
        probe_set = stream.gather(ranks.gather(own))
        ways = ranks.gather(stream.ways)
        with ranks.together():
            stream.agree(ways, probe_set.probes)
            names = self._asked.class_names or probe_set.class_names
            reading = probe_set.reading
            task = reading.task(self._asked.task)
            asked = replace(self._asked, reading=reading, task=task, class_names=names)
            lent = replace(live, network=probe_set.network)
            asked = asked.as_before(read_settings(self.run_dir))
            bound = bind(asked, lent, probe_set.probes)
            names = bound.explainer.class_names
            check_names(names, self._judge, watched=(), line=stream.names_line)
            stream.bound = bound.explainer.task
            probe_set = replace(probe_set, probes=tuple(bound.probes))
            self._explainer = bound.explainer.settle(lent, spread(probe_set.probes, 16))
        lines = [bound.doubt, stream.choice, *stream.doubts(probe_set)]
        for line in filter(None, [*lines, *stream.doubts_of_rows(probe_set)]):
            rank_zero_warn(f"vlmxai: {line.removeprefix('vlmxai: ')}")
        return probe_set

    def _check_look(self, live: LiveModel, probe_set: ProbeSet) -> None:
        """Explain some of the first rows: they must be predicted as the stage predicted them."""
        live = replace(live, network=probe_set.network)
        probes = spread(probe_set.probes, 16)
        with self._ranks.together():
            found = self._explainer(live, probes)
            self._prove(live, probes, found)
            if self._ranks.rank == 0 and self._check.is_due(0):
                line = self._check.look(self._explainer, live, probes, found)
                if line:
                    rank_zero_warn(f"vlmxai: {line}")

    def _begin(self, probe_set: ProbeSet, num_classes: int | None) -> None:
        """Write how the audit is made, or see that it goes on in the same way.

        Raises:
            ConfigurationError: If the folder holds another.
        """
        facts = {
            "kind": "audit",
            **self._model,
            "judge": self._judge.name,
            "threshold": self._settings.threshold,
            "faithfulness": self._settings.faithfulness or None,
            "identity": "index" if self._stream.are_indices else "pixels",
            "num_classes": num_classes,
            **probe_set.describe(),
            **self._explainer.describe(),
        }
        requests = getattr(self._judge, "requests", None)
        facts |= {} if requests is None else {"requests": str(requests)}
        facts = json.loads(json.dumps(facts))
        before = read_settings(self.run_dir)
        other = [
            name
            for name in facts
            if before
            and name not in ("files", "doubts", "requests")
            and before.get(name) != facts[name]
        ]
        if other:
            name = "model" if "weights" in other else other[0]
            raise ConfigurationError(
                expected(
                    "run_dir",
                    "a folder without a run, or with an unfinished audit of the same kind",
                    f"{self.run_dir}, made with another {name}"
                    + (f" ({before.get(name)!r}, now {facts[name]!r})" if name != "model" else ""),
                    f'Pass another, such as `run_dir="{self.run_dir}-2"`',
                )
            )
        self.run_dir.mkdir(parents=True, exist_ok=True)
        facts["doubts"] = self._check.doubts
        (self.run_dir / "run.json").write_text(json.dumps(facts, indent=2) + "\n")

    def _explain(self, live: LiveModel, passed: Passed) -> None:
        """Explain a batch, and submit the rows of it that are not done.

        Rows of a part go through the network together whichever of them are done: an audit that
        goes on makes the same maps to the last bit, and what was paid for is found again.
        """
        if passed.found is None:
            return
        self.progress.repeated += passed.padding
        known = self._stream.known_by(passed)
        live = replace(live, network=self._network)
        # The model is lent once for a part: of few rows that would take longer than explaining.
        most = self._settings.max_pending
        size = min(most, max(self._explainer.batch_size, most // 2))
        for start in range(0, len(known), size):
            rows = range(start, min(start + size, len(known)))
            if all(known[row] in self._done for row in rows):
                # One of them is looked at: it must still be the same picture.
                self.progress.done += len(rows) - 1
                self._identify(self._stream.stream(passed, rows[:1]))
                continue
            found = self._identify(self._stream.stream(passed, rows, self._settings.groups))
            todo = [place for place, (_, _, is_new) in enumerate(found) if is_new]
            if todo:
                self._queue.make_room(len(todo))
                if self._is_over():
                    return
                explained = self._explain_rows(
                    live, passed.found.call, [one for one, _, _ in found]
                )
                self._queue.submit([found[n][:2] for n in todo], [explained[n] for n in todo])

    def _explain_rows(
        self, live: LiveModel, call: Call, streamed: Sequence[Streamed]
    ) -> list[list[Explanation]]:
        probes, rows = [one.probe for one in streamed], [one.row for one in streamed]
        explainer, figures = self._explainer, self._settings.faithfulness
        explain = partial(
            explainer.explain_call, call=call, probes=probes, rows=rows, known=self._targets
        )
        measure = partial(measure_rows, explainer=explainer, call=call, rows=rows, figures=figures)
        explained = self._isolation.run(live, lambda lent: measure(lent, explain(lent)))
        self._prove(live, probes, [e for each in explained for e in each])
        return explained

    def _identify(self, streamed: Sequence[Streamed]) -> list[tuple[Streamed, str, bool]]:
        """Return rows under their identity, the pictures' digests, and which are to be judged."""
        found = []
        for one in streamed:
            pixels = (one.probe.pixels * 255).round().byte().numpy()
            digest = hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest()
            index = one.own
            if index is None and self._stream.are_indices:
                index = one.probe.index
            if index is None:
                whole = f"{digest}:{one.probe.target}:{one.probe.file}"
                index = int(hashlib.sha256(whole.encode()).hexdigest()[:13], 16)
            before = self._done.get(index)
            if before is not None and before != digest:
                raise ProbeError(
                    expected(
                        "sample",
                        "the picture that it was when the audit began",
                        f"another for sample {index} ({one.probe.file or 'no file is known'})",
                        f'The data changed: pass `run_dir="{self.run_dir}-2"` for a new audit',
                    )
                )
            is_new = before is None and index not in self._now
            self.progress.done += before is not None
            self.progress.repeated += before is None and not is_new
            self._now.add(index)
            found.append((replace(one, probe=replace(one.probe, index=index)), digest, is_new))
        return found

    def _prove(
        self, live: LiveModel, probes: Sequence[Probe], explanations: Sequence[Explanation]
    ) -> None:
        """Compare what is explained with what the stage predicted for the same rows.

        Raises:
            AttributionError: If they differ; it names a row and both predictions.
        """
        found = find_disagreements(probes, explanations, tolerance=live.tolerance)
        if found:
            raise disagreement(found, probes)

    def _count(self, told: Sequence[_End]) -> AuditCount:
        """Return what the lines of all ranks come to, and write it down."""
        names = {rank: f"samples-{rank}.jsonl" for rank in range(1, len(told)) if told[rank].rows}
        absent = [name for name in names.values() if not (self.run_dir / name).exists()]
        if absent:
            raise ConfigurationError(
                expected(
                    "run_dir",
                    "on a disk that the machines of all ranks share",
                    f"{self.run_dir}, where rank 0 finds no {', '.join(absent)}",
                    "Copy these and their probabilities there, from where they were written, and "
                    f"run `vlmxai report {self.run_dir}`; or pass a `run_dir` on a shared disk",
                )
            )
        head, missing = self._head, sum(one.missing for one in told)
        count = close_audit(
            self.run_dir, head.stage, epoch=head.epoch, step=head.step, missing=missing
        )
        if count is None:
            what = f"{head.stage} data set"
            raise ProbeError(expected(what, "not empty", "no sample", "Add samples"))
        return count
