"""Controls: pictures whose answer is known, and what is told of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lightning_vlmxai import ReferenceMaskJudge
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import Control, JudgeRequest
from lightning_vlmxai.trust import Subject, draw_controls, subjects_of
from openai_server import OpenAIServer
from samples import make_explanation
from tiny import Squares

NAMES = ("red", "blue", "green")


def subjects(count: int = 24, *, masks: bool = True, side: int = 64) -> list[Subject]:
    """Return pictures with a square each."""
    squares = Squares(count, side)
    return [
        Subject(
            index=i,
            pixels=squares.pictures[i],
            label_name=squares.classes[squares.targets[i]],
            reference_mask=squares.masks[i] if masks else None,
        )
        for i in range(count)
    ]


def score_of(control: Control) -> float:
    """Return what the judge that knows where the object is says."""
    score = asyncio.run(ReferenceMaskJudge().judge(control.request)).score
    assert score is not None
    return score


def test_with_masks_half_are_good_and_all_kinds_are_there() -> None:
    """Each good one has a bad one of the same picture beside it."""
    drawn = draw_controls(subjects(), 40, class_names=NAMES)
    assert drawn.notes == ()
    kinds = Counter(control.kind for control in drawn.controls)
    assert kinds == {"object": 20, "elsewhere": 7, "shuffled": 7, "other label": 6}
    pictures = Counter((c.request.probe_index, c.is_good) for c in drawn.controls)
    assert len(pictures) == 40
    assert all(pictures[index, True] == pictures[index, False] == 1 for index, _ in pictures)


def test_what_is_known_of_a_control_is_so() -> None:
    """By the reference mask and the labels: kept, missed, misnamed."""
    of_index = {subject.index: subject for subject in subjects()}
    for control in draw_controls(list(of_index.values()), 40, class_names=NAMES).controls:
        own = of_index[control.request.probe_index]
        visible = float(control.request.mask[own.reference_mask].mean())
        if control.kind in ("object", "other label"):
            assert score_of(control) >= 3.5
        else:
            assert score_of(control) < 1.5
            assert visible <= 0.1
        assert (control.request.label_name == own.label_name) == (control.kind != "other label")
        assert (control.request.mask >= 0.5).any()


def test_a_misnamed_control_bears_neither_the_true_nor_the_predicted_name() -> None:
    """However these are spelt; and where there are only these two names, there is none."""
    two = [replace(s, names=("Green!",)) for s in subjects()]
    drawn = draw_controls(two, 40, class_names=NAMES)
    named = {
        (of.label_name, control.request.label_name)
        for control in drawn.controls
        for of in two
        if of.index == control.request.probe_index and control.kind == "other label"
    }
    assert named == {("red", "blue"), ("blue", "red")}
    none = draw_controls([replace(s, names=("red", "blue")) for s in two], 12)
    assert "other label" not in {control.kind for control in none.controls}
    assert len(none.controls) == 12
    assert "'other label': no class name is surely wrong" in none.notes[0]
    several = draw_controls([replace(s, has_others=True) for s in two], 12, class_names=NAMES)
    assert "other label" not in {control.kind for control in several.controls}


def test_without_masks_the_whole_picture_is_shown_under_two_names() -> None:
    """Nothing is hidden, so that only the name can be wrong."""
    drawn = draw_controls(subjects(masks=False), 10, class_names=NAMES)
    assert Counter(c.kind for c in drawn.controls) == {"whole": 5, "other label": 5}
    assert min(float(c.request.mask.min()) for c in drawn.controls) > 0.97


def test_masks_are_as_soft_and_coarse_as_real_ones() -> None:
    """Bilinear between the cells of a coarse map, like an enlarged saliency map, and then Eq. 1."""
    for control in draw_controls(subjects(side=112), 12, class_names=NAMES).controls:
        saliency, mask = control.request.saliency, control.request.mask
        assert saliency is not None
        torch.testing.assert_close(mask, torch.sigmoid(15 * (saliency - 0.6)))
        if control.kind == "shuffled":
            continue  # another's, on its own grid
        steps = (saliency[:, 1:] - saliency[:, :-1]).abs().max()
        assert 0 < steps <= 1.3 * 20 / 112  # a step takes a cell, of 20 at most
        assert (float(saliency.min()), float(saliency.max())) == (0.0, 1.0)


def test_kept_and_missed_regions_have_one_size_and_texture() -> None:
    """A judge can't tell good from bad by how much is visible."""
    drawn = draw_controls(subjects(), 40, class_names=NAMES).controls
    area = {
        kind: torch.tensor([float(c.request.mask.mean()) for c in drawn if c.kind == kind])
        for kind in ("object", "elsewhere", "shuffled")
    }
    for kind in ("elsewhere", "shuffled"):
        assert abs(area[kind].mean() - area["object"].mean()) < 0.3 * area["object"].mean()


def test_each_round_draws_others_and_the_same_seed_the_same() -> None:
    """So that no stored answer is theirs, and a resumed run asks for what it paid for."""
    pool = subjects(6)
    rounds = [draw_controls(pool, 8, class_names=NAMES, number=n).controls for n in range(6)]
    masks = [c.request.mask.numpy().tobytes() for of in rounds for c in of]
    assert len(set(masks)) == 48
    again = draw_controls(pool, 8, class_names=NAMES, number=3).controls
    assert [c.request.mask.numpy().tobytes() for c in again] == masks[24:32]
    assert [c.kind for c in again] == [c.kind for c in rounds[3]]
    whole = [draw_controls(subjects(2, masks=False), 4, number=n).controls for n in range(4)]
    assert len({c.request.mask.numpy().tobytes() for of in whole for c in of}) == 16
    # All kinds come, also where a round has few.
    few = [draw_controls(pool, 2, class_names=NAMES, number=n).controls for n in range(3)]
    kinds = {c.kind for of in few for c in of}
    assert kinds == {"object", "elsewhere", "shuffled", "other label"}


def test_a_real_map_is_shuffled_where_there_is_one() -> None:
    """As another picture's saliency map, brought to this one's size."""
    pool = subjects(4)
    corner = torch.zeros(32, 32)
    corner[:3, :3] = 1.0
    pool = [replace(s, saliency=corner) for s in pool]
    found = [c for c in draw_controls(pool, 24).controls if c.kind == "shuffled"]
    assert found
    for control in found:
        kept = (control.request.mask >= 0.5).nonzero()
        assert int(kept.max()) <= 8  # pixels of 64


def test_the_shape_needs_room_beside_the_object() -> None:
    """Where there is none there is no such control, and a note says so."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[4:60, 4:60] = True
    large = [replace(s, reference_mask=mask) for s in subjects(4)]
    drawn = draw_controls(large, 6, class_names=NAMES)
    assert {c.kind for c in drawn.controls} == {"object", "other label"}
    assert "'elsewhere': no object leaves room" in drawn.notes[0]
    assert "'shuffled': no map of another picture misses" in drawn.notes[1]


def test_masks_that_tell_nothing_are_none() -> None:
    """Empty and full ones say not where the object is."""
    for mask in (torch.zeros(64, 64), torch.ones(64, 64)):
        pool = [replace(s, reference_mask=mask.bool()) for s in subjects(4)]
        assert {c.kind for c in draw_controls(pool, 6).controls} == {"whole", "other label"}
    assert draw_controls([], 6).controls == ()


def test_an_embedded_judge_without_labels_is_asked_for_none() -> None:
    """It can't know that a name is wrong."""
    drawn = draw_controls(
        subjects(), 12, class_names=NAMES, reads_labels=ReferenceMaskJudge.reads_labels
    )
    assert {c.kind for c in drawn.controls} == {"object", "elsewhere", "shuffled"}
    assert draw_controls(subjects(masks=False), 12, reads_labels=False).controls == ()


def test_explanations_give_subjects_where_a_class_is_shown() -> None:
    """One of each picture; of many labels only those that are there."""
    plain = make_explanation(0, is_correct=False)
    (subject,) = subjects_of([plain])
    assert (subject.label_name, subject.names) == ("cat", ("other",))
    wrong = replace(make_explanation(1, is_correct=False), part=4)
    right = replace(make_explanation(1), part=0, is_blank=True)
    (subject,) = subjects_of([wrong, right, replace(right, part=7)])
    assert (subject.label_name, subject.has_others, subject.saliency) == ("cat", True, None)
    assert subjects_of([replace(plain, label=-1)]) == []


def test_no_byte_that_is_sent_tells_the_truth() -> None:
    """The same picture and name make the same request, whatever is known of it."""
    request = draw_controls(subjects(), 2, class_names=NAMES).controls[0].request
    controls = [Control(kind=kind, request=request) for kind in ("object", "elsewhere")]
    assert [c.is_good for c in controls] == [True, False]
    with OpenAIServer() as server:
        judge = VLMJudge("m", base_url=server.base_url, api_key_env=None, cache=False)

        async def ask() -> None:
            await judge.open()
            for control in controls:
                await judge.judge(control.request)
            await judge.close()

        asyncio.run(ask())
        assert server.requests[0].body == server.requests[1].body
        same = [
            {k: v for k, v in seen.headers.items() if k != "x-stainless-retry-count"}
            for seen in server.requests
        ]
        assert same[0] == same[1]
    # What a judge is handed has no place for it, and nothing that differs by it.
    names = {f.name for f in fields(JudgeRequest)}
    assert names == {
        *("probe_index", "label_name", "pixels", "mask", "saliency", "fill"),
        *("reference_mask", "round_number", "stage"),
    }
    drawn = draw_controls(subjects(), 40, class_names=NAMES).controls
    sides = {
        good: {c.request.probe_index for c in drawn if c.is_good == good} for good in (True, False)
    }
    assert sides[True] == sides[False]
    # Nor does the order: neither the first half nor every second one is of one sort.
    for part in (drawn[:20], drawn[::2]):
        assert 4 <= sum(control.is_good for control in part) <= 16
    assert any(one.is_good == two.is_good for one, two in pairwise(drawn))


@pytest.mark.parametrize("beta", [0.4, 0.6, 0.8])
def test_controls_follow_the_mask_of_the_run(beta: float) -> None:
    """With its alpha, beta and fill the object is still kept, and still missed."""
    drawn = draw_controls(subjects(), 20, class_names=NAMES, alpha=25.0, beta=beta, fill="grey")
    assert len(drawn.controls) == 20
    for control in drawn.controls:
        assert control.request.fill == "grey"
        assert (score_of(control) >= 2.5) == (control.kind in ("object", "other label"))


def test_thin_objects_are_shown_on_a_finer_map_or_not_at_all() -> None:
    """A control that keeps mostly ground would not be known to be High."""
    thin = torch.zeros(224, 224, dtype=torch.bool)
    thin[100:110, :] = True
    picture = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0))
    pool = [
        Subject(index=i, pixels=picture, label_name=n, reference_mask=thin)
        for i, n in enumerate(NAMES)
    ]
    for control in draw_controls(pool, 8).controls:
        if control.kind == "object":
            assert score_of(control) >= 3.0
    hair = torch.zeros_like(thin)
    hair[100] = True
    assert draw_controls([replace(s, reference_mask=hair) for s in pool], 8).controls == ()


def test_the_coarse_map_is_torchs_average() -> None:
    """Cells of a map that divides the picture are plain means."""
    mask = subjects(1, side=56)[0].reference_mask
    assert mask is not None
    share = F.adaptive_avg_pool2d(mask.float()[None, None], 7)[0, 0]
    literal = mask.float().view(7, 8, 7, 8).mean(dim=(1, 3))
    torch.testing.assert_close(share, literal)
