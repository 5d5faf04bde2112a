"""Classes whose right answers rest on something else: what it is, and what it does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calls import Call, join_calls
from ..judges import PLACE_NAMES
from ..records import Explanation, Probe, Quadrant, Sample
from ..rounds import Share, stand_out, wilson_interval
from ..tasks import Task
from .interventions import Effect, draw_elsewhere, erase_effect, paste_effect
from .likeness import Likeness, measure_likeness
from .places import CELLS, Place, find_place, to_cells
from .shown import Shown, show
from .topics import Spoken, Topic, find_topics
from .training import TrainingList

LIMIT = 0.2
"""A class is looked at where the lower end of its rate is at least so high."""
_ON_OBJECT = 0.5
"""Where so much of the kept region lies on the object, no other thing was attended to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """A class whose right answers rest on something else more often than those of others.

    Args:
        label: Name of the class.
        number: Of the class.
        low: Right answers that rest on something else.
        right: Right answers that were judged.
        other_low: Those of all other classes.
        other_right: Likewise.
        earlier: Of all these verdicts, how many stand from earlier rounds.
        place: Where they look and others don't; None if that is no more than chance.
        topic: What they look at, in the judge's words; None likewise.
        likeness: Pictures of other classes that look there as these do; None if not known.
        is_wide: Whether the pictures are the class's own beside that place too.
        bearers: Indices of the probes that bear the cue.
        erased: What erasing it does to these; None where it was not tried.
        pasted: What pasting it onto other classes does. The rows of the changes of both are
            indices of probes.
        untried: Why something was not tried, in words.
        shown: Pictures with the cue erased or pasted.
        training: Training pictures that look like the cue; None if none were looked for.
    """

    label: str
    number: int
    low: int
    right: int
    other_low: int
    other_right: int
    earlier: int = 0
    place: Place | None = None
    topic: Topic | None = None
    likeness: Likeness | None = None
    is_wide: bool = False
    bearers: tuple[int, ...] = ()
    erased: Effect | None = None
    pasted: Effect | None = None
    untried: tuple[str, ...] = field(default=())
    training: TrainingList | None = None
    shown: tuple[Shown, ...] = field(default=(), compare=False)

    @property
    def is_proven(self) -> bool:
        """Whether it is more than a place that the model looks at.

        Either pasting what is there makes the class of others beyond the control, or what is there
        is alike in the class's pictures and rare in the others'. Erasing alone proves nothing: a
        thin object needs the ground beside it.
        """
        is_there = self.likeness is not None and self.likeness.is_own
        return is_there or (self.pasted is not None and self.pasted.is_cause)

    @property
    def text(self) -> str:
        """What was found, in sentences, every figure with its denominator."""
        ends = wilson_interval(self.low, self.right)
        where = self.place.box.words if self.place else ""
        named = self.topic.phrase if self.topic else ""
        if named in PLACE_NAMES:  # as the reference judge tells
            where, named = where or named, ""
        rest = ", ".join(filter(None, (named, where))) or "something else than the object"
        if where and not named and where != "the whole picture":
            rest = f"what lies {rest}"
        rates = f"95 %: {100 * ends.lower:.0f} to {100 * ends.upper:.0f} %"
        verdicts = f"{self.earlier} of these {self.right + self.other_right} verdicts"
        stands = f"; {verdicts} are of earlier rounds" if self.earlier else ""
        others = f"other classes {self.other_low} of {self.other_right}"
        verb = "rest on" if self.is_proven else "look at"
        share = f"{self.low} of {self.right} right answers {verb} {rest}"
        said = [f"{self.label}: {share} ({rates}; {others}{stands})."]
        if self.topic and named:
            t = self.topic
            said.append(
                f"The judge saw it in {t.low} of {t.of_low} of them, and in {t.other} of "
                f"{t.of_other} others."
            )
        if self.likeness:
            like, total = self.likeness
            there = " there" if where else ""
            said.append(f"{like} of {total} pictures of other classes look like theirs{there}.")
        if self.is_wide:
            said.append(
                "So it is beside that place: what they share is not there alone, and erasing it "
                "there leaves the rest."
            )
        if self.erased:
            e = self.erased
            said.append(
                f"Erasing it turns {e.flipped} of {e.total} predictions, erasing as much elsewhere "
                f"{e.control}."
            )
            if not e.is_cause:
                said.append(
                    "That is no more than chance: the prediction does not hang on it alone, or the "
                    "maps are in doubt."
                )
        if self.pasted:
            p = self.pasted
            said.append(
                f"Pasting it onto other classes makes {p.flipped} of {p.total} a {self.label}, "
                f"pasting as much from elsewhere {p.control}."
            )
        end = [] if self.is_proven else ["That it is a shortcut was not shown."]
        listed = [self.training.text] if self.training else []
        return " ".join([*said, *self.untried, *end, *listed])


def find_shortcuts(
    samples: Sequence[Sample],
    *,
    spoken: Mapping[int, Spoken] | None = None,
    limit: float = LIMIT,
    seed: int = 0,
) -> list[Shortcut]:
    """Return classes whose right answers look at something else, the highest rate first.

    Whether that is a shortcut (`Shortcut.is_proven`) is seen by what is there, or by `try_cause`.
    A class is named where Low among its right answers stands out from the other classes (Fisher's
    exact test, Holm's correction) and the lower end of its rate is at least `limit`. Samples whose
    kept region lies on the object, where that is known, rest on the object, however little of it.

    Args:
        samples: Of a round, of one class a picture.
        spoken: What the judge saw in pictures; those of `samples` if None.
        limit: In [0, 1].
        seed: Of permutations.
    """
    right = _right(samples)
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in right:
        members[sample.explanation.label_name].append(sample)
    shares = {
        name: Share(sum(map(rests_elsewhere, own)), len(own)) for name, own in members.items()
    }
    tested = stand_out({"": shares})[""] if shares else {}
    told = spoken_of(samples) if spoken is None else spoken
    topics = {t.label: t for t in reversed(find_topics(list(told.values()))) if t.stands_out}
    found = []
    for name, share in shares.items():
        if not tested[name][1] or wilson_interval(*share).lower < limit:
            continue
        bearers = [s for s in members[name] if rests_elsewhere(s)]
        chosen = {id(s) for s in bearers}
        place = find_place(
            _masks(bearers), _masks([s for s in right if id(s) not in chosen]), seed=seed
        )
        place = place if place and place.stands_out else None
        own = [s.explanation for s in bearers]
        rest = [s.explanation for s in right if s.explanation.label_name != name]
        likeness = measure_likeness(own, rest, place and place.box)
        beside = measure_likeness(own, rest, place.box, beside=True) if place else None
        found.append(
            Shortcut(
                label=name,
                number=bearers[0].explanation.label,
                low=share.low,
                right=share.total,
                other_low=sum(s.low for s in shares.values()) - share.low,
                other_right=sum(s.total for s in shares.values()) - share.total,
                earlier=sum(s.verdict.is_reused for s in right),
                place=place,
                topic=topics.get(name),
                likeness=likeness,
                is_wide=bool(likeness and likeness.is_own and beside and beside.is_own),
                bearers=tuple(s.explanation.probe_index for s in bearers),
            )
        )
    return sorted(found, key=lambda s: -s.low / s.right)


def right_classes(samples: Sequence[Sample]) -> list[str]:
    """Return the names of the classes of which right answers were judged, sorted."""
    return sorted({sample.explanation.label_name for sample in _right(samples)})


def spoken_of(samples: Sequence[Sample]) -> dict[int, Spoken]:
    """Return what the judge saw in right samples, by the index of the probe.

    What it calls a part of the named object is no cue. Samples of a judge that told nothing are
    not there; one in which nothing off the object was seen is, and has no phrases.
    """
    return {
        s.explanation.probe_index: Spoken(
            s.explanation.label_name,
            rests_elsewhere(s),
            tuple(what for what, is_part in s.verdict.attends_to if not is_part),
        )
        for s in _right(samples)
        if s.verdict.attends_to is not None
    }


def _right(samples: Sequence[Sample]) -> list[Sample]:
    """Return the right and judged samples of one class a picture."""
    kinds = (Quadrant.CORRECT_LOW, Quadrant.CORRECT_HIGH)
    return [s for s in samples if s.quadrant in kinds and s.explanation.part is None]


def rests_elsewhere(sample: Sample) -> bool:
    """Return whether a sample is Correct-Low and its kept region isn't known to be the object's."""
    if sample.quadrant is not Quadrant.CORRECT_LOW:
        return False
    on_object, kept = _object_of(sample.explanation), sample.explanation.mask >= 0.5
    return (
        on_object is None
        or not bool(kept.any())
        or (float(on_object[kept].float().mean()) < _ON_OBJECT)
    )


def try_cause(
    shortcut: Shortcut,
    samples: Sequence[Sample],
    probes: Sequence[Probe],
    *,
    module: nn.Module,
    prepare: Callable[[Call], Call],
    task: Task,
    most: int = 32,
    seed: int = 0,
) -> Shortcut:
    """Return a shortcut with the effect of its cue on the model's predictions.

    The cue is the box that stands out, less the object where that is known; without a box, what
    each picture's mask keeps beside the object. Six forwards over at most `most` pictures each.

    Args:
        shortcut: As it was found.
        samples: In which it was found.
        probes: These samples' own.
        module: The network, lent.
        prepare: From a call on the CPU to one as the network is called.
        task: How its answer is read.
        most: Pictures that are changed, of one shape; those of the commonest are taken.
        seed: Of the choice of other places.
    """
    of_index = {probe.index: probe for probe in probes}
    sample_of = {s.explanation.probe_index: s.explanation for s in samples}
    bearers = [i for i in shortcut.bearers if i in of_index and i in sample_of]
    if not bearers:
        return replace(shortcut, untried=("It was not erased: its pictures are not at hand.",))
    shape = Counter(str(of_index[i].call.shapes) for i in bearers).most_common(1)[0][0]
    bearers = [i for i in bearers if str(of_index[i].call.shapes) == shape]
    regions = torch.stack([cue_region(shortcut, sample_of[i]) for i in bearers])
    controls, has_room = draw_elsewhere(
        regions, _objects([sample_of[i] for i in bearers]), seed=seed
    )
    kept = has_room.nonzero().flatten().tolist()[:most]
    if not kept:
        return replace(
            shortcut, untried=("It was not erased: no region of its size is free beside it.",)
        )
    bearers, regions, controls = [bearers[k] for k in kept], regions[kept], controls[kept]
    call = prepare(join_calls([of_index[i].call for i in bearers]))
    erased = erase_effect(module, call, task, regions, controls, shortcut.number)
    untried: list[str] = []
    if erased is None:
        untried += [f"It was not erased: none is {shortcut.label} to the model by now."]
    others = [
        s.explanation.probe_index
        for s in samples
        if s.explanation.label != shortcut.number
        and s.explanation.prediction != shortcut.number
        and s.explanation.part is None
        and s.explanation.probe_index in of_index
        and str(of_index[s.explanation.probe_index].call.shapes) == shape
    ][:most]
    pasted = None
    turn: list[int] = []
    if others:
        turn = [k % len(bearers) for k in range(len(others))]
        pasted = paste_effect(
            module,
            prepare(join_calls([of_index[i].call for i in others])),
            task,
            call.images[turn],
            regions[turn],
            controls[turn],
            shortcut.number,
        )
    if pasted is None:
        untried += ["It was not pasted: there is no picture of another class."]
    erased = erased and _of_probes(erased, bearers)
    pasted = pasted and _of_probes(pasted, others)
    own = dict(zip(bearers, regions, strict=True))
    donors = {i: bearers[k] for i, k in zip(others, turn, strict=True)}
    shown = show("erased", erased, sample_of, own)
    shown += show("pasted", pasted, sample_of, {i: own[k] for i, k in donors.items()}, donors)
    return replace(shortcut, erased=erased, pasted=pasted, untried=tuple(untried), shown=shown)


def _of_probes(effect: Effect, probes: Sequence[int]) -> Effect:
    """Return an effect whose changes tell their probes."""
    changes = (change._replace(row=probes[change.row]) for change in effect.changes)
    return effect._replace(changes=tuple(changes))


def cue_region(shortcut: Shortcut, of: Explanation) -> Tensor:
    """Return where the cue lies in a picture, `[H, W]` bool."""
    on_object = _object_of(of)
    region = (
        of.mask >= 0.5 if shortcut.place is None else shortcut.place.box.region(*of.mask.shape[-2:])
    )
    return region if on_object is None else region & ~on_object


def _object_of(of: Explanation) -> Tensor | None:
    """Return the reference mask at the size of the map, `[H, W]` bool; None if nothing is known."""
    mask = of.reference_mask
    if mask is None or mask.shape == of.mask.shape:
        return mask
    return F.interpolate(mask[None, None].float(), of.mask.shape, mode="nearest-exact")[0, 0] > 0.5


def _objects(of: Sequence[Explanation]) -> Tensor | None:
    found = [_object_of(one) for one in of]
    if all(one is None for one in found):
        return None
    return torch.stack(
        [torch.zeros_like(e.mask) > 0 if m is None else m for e, m in zip(of, found, strict=True)]
    )


def _masks(samples: Sequence[Sample]) -> Tensor:
    """Return masks averaged over the cells of a common grid, `[N, 14, 14]`."""
    if not samples:
        return torch.zeros(0, CELLS, CELLS)
    return torch.cat([to_cells(s.explanation.mask[None]) for s in samples])
