"""Rankings of suspicious labels, held to literal twins and to cases that can be counted."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lightning_vlmxai import ConfigurationError
from lightning_vlmxai.trust import LABEL_METHODS, find_suspects, suggested_labels

pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")


def draw(seed: int, number: int = 120, classes: int = 4) -> tuple[NDArray[np.int64], ...]:
    """Return given labels, probabilities and scores; every tenth label is a wrong one."""
    drawn = np.random.default_rng(seed)
    true = drawn.integers(0, classes, number)
    logits = drawn.normal(size=(number, classes)) + 3.0 * np.eye(classes)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = true.copy()
    labels[::10] = (true[::10] + 1) % classes
    scores = drawn.integers(0, 11, number) / 2
    scores[::7] = np.nan
    return labels, p.astype(np.float32), scores


def slow_order(keys: list[tuple[float, ...]]) -> list[int]:
    """Return the place of each, from 1, by sorting a list."""
    places = [0] * len(keys)
    for place, index in enumerate(sorted(range(len(keys)), key=lambda i: (*keys[i], i)), start=1):
        places[index] = place
    return places


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_every_ranking_is_that_of_a_literal_twin(seed: int) -> None:
    """Sample by sample in Python, with cleanlab asked for its own flags and its own order."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, p, scores = draw(seed)
    found = find_suspects(labels, p, scores)
    assert tuple(found) == LABEL_METHODS
    margins, selves, sums = [], [], []
    for label, row in zip(labels, p.astype(float), strict=True):
        own, others = row[label], [q for k, q in enumerate(row) if k != label]
        margins.append(own - max(others))
        selves.append(own)
        sums.append(math.log(own) + 3 * (own - max(others)))
    flags = {name: find_label_issues(labels, p, filter_by=name, n_jobs=1) for name in found
             if name not in ("combined", "wrong_high")}  # fmt: skip
    for name, flagged in flags.items():
        assert found[name].flagged.tolist() == flagged.tolist()
        own = selves if name == "low_self_confidence" else margins
        keys = [(not f, q) for f, q in zip(flagged, own, strict=True)]
        assert found[name].ranks.tolist() == slow_order(keys)
    for name in ("self_confidence", "normalized_margin"):  # cleanlab's own orders
        theirs = np.argsort(get_label_quality_scores(labels, p, method=name), kind="stable")
        assert theirs[:5].tolist() == np.argsort(found[f"low_{name}"].ranks)[:5].tolist()
    high = [m < 0 and s >= 2.5 for m, s in zip(margins, scores, strict=True)]
    assert found["wrong_high"].flagged.tolist() == high
    keys = [(not h, -s if h else 0.0, m) for h, s, m in zip(high, scores, margins, strict=True)]
    assert found["wrong_high"].ranks.tolist() == slow_order(keys)
    ours = found["combined"]
    assert ours.ranks.tolist() == slow_order([(both,) for both in sums])
    assert ours.flagged.sum() == flags["confident_learning"].sum()


def test_exchanged_labels_come_first() -> None:
    """Of a model that is nearly always sure and right: the wrong twelve of 120."""
    true = np.arange(120) % 4
    p = np.full((120, 4), 0.02, dtype=np.float32)
    p[np.arange(120), true] = 0.94
    labels = true.copy()
    labels[::10] = (true[::10] + 1) % 4
    found = find_suspects(labels, p)
    assert "wrong_high" not in found
    for name, of in found.items():
        assert np.flatnonzero(of.flagged).tolist() == list(range(0, 120, 10)), name
        assert sorted(of.ranks[::10]) == list(range(1, 13)), name
        assert sorted(of.ranks) == list(range(1, 121)), name
    assert (suggested_labels(labels, p)[::10] == true[::10]).all()


def test_the_order_holds_where_probabilities_are_nothing() -> None:
    """A given class at exactly 0: no warning, and the surer the other class, the earlier."""
    labels, p, _ = draw(3)
    p[[10, 20, 30]] = 0.0
    for row, sure in ((10, 0.6), (20, 1.0), (30, 0.8)):
        other = (labels[row] + 1) % 4
        p[row, other], p[row, (other + 1) % 4] = sure, 1 - sure
        p[row, labels[row]] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranks = find_suspects(labels, p)["combined"].ranks
    assert sorted([10, 20, 30], key=lambda i: ranks[i]) == [20, 30, 10]
    assert set(ranks[[10, 20, 30]]) == {1, 2, 3}


def test_what_is_wrong_is_for_the_task_to_say() -> None:
    """Wrong-High follows it, where it takes two classes for right."""
    labels, p, scores = draw(1)
    is_correct = np.argsort(p, axis=1)[:, -2:] == labels[:, None]
    own = find_suspects(labels, p, scores, is_correct.any(axis=1))["wrong_high"].flagged
    assert own.tolist() == (~is_correct.any(axis=1) & (scores >= 2.5)).tolist()
    assert 0 < own.sum() < find_suspects(labels, p, scores)["wrong_high"].flagged.sum()


def test_labels_of_the_model_itself_are_refused() -> None:
    """All four of cleanlab's flag nothing then; a single other label is enough to go on."""
    _, p, _ = draw(0)
    own = p.argmax(axis=1)
    with pytest.raises(ConfigurationError, match=r"predictions for all 120 .*second model"):
        find_suspects(own, p)
    own[0] = (own[0] + 1) % 4
    assert find_suspects(own, p)["combined"].ranks[0] == 1


def test_too_few_samples_of_a_class_are_refused() -> None:
    """Told with what there is; `min_per_class` lets the order be read all the same."""
    labels, p, _ = draw(0, number=60, classes=30)
    with pytest.raises(ConfigurationError, match=r"got 2 of a typical class \(60 samples, 2\d cl"):
        find_suspects(labels, p)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_suspects(labels, p, min_per_class=1)["combined"].ranks) == 60
    with pytest.raises(ConfigurationError, match=r"two classes at least, got 3 samples of 1"):
        find_suspects(np.zeros(3, dtype=np.int64), p[:3, :2])


def test_half_of_the_samples_in_large_classes_are_enough() -> None:
    """A long tail of single samples is no reason to refuse the rest."""
    labels, p, _ = draw(0, number=40, classes=25)
    labels[:20] = np.arange(20) % 2
    labels[20:] = np.arange(2, 22)
    assert len(find_suspects(labels, p)["combined"].ranks) == 40
    labels[0] = 22
    labels[1] = 23
    with pytest.raises(ConfigurationError, match="at least 5 of a class"):
        find_suspects(labels, p)


def test_without_cleanlab_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line that can be pasted."""
    labels, p, _ = draw(0)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(ConfigurationError, match=r'pip install "cleanlab>=2\.9"'):
        find_suspects(labels, p)
