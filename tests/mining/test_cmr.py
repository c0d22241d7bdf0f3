"""CMR against a slow computation written from its definition, and against worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.mining.cmr import class_mining_recall, true_positives


def slow_recall(query, selected, label, instance, source, usable, classes):
    """PROTOCOL's definition, one class, instance and pick at a time: (recall, random) per class, nan where undefined."""
    videos = [v for v in range(len(label)) if usable[v]]
    recall, random = [], []
    for c in range(classes):
        of_class = [v for v in videos if label[v] == c]
        instances = sorted({instance[v] for v in of_class})
        if len({source[v] for v in of_class}) < 2:
            recall.append(math.nan)
            random.append(math.nan)
            continue
        found = {
            instance[v]
            for q, picks in zip(query, selected, strict=True)
            for v in picks
            if label[q] == c and v >= 0 and usable[v] and label[v] == c and source[v] != source[q]
        }
        recall.append(len(found) / len(instances))
        expected = 0.0
        for i in instances:
            miss = 1.0
            members = [v for v in of_class if instance[v] == i]
            for q, picks in zip(query, selected, strict=True):
                if label[q] != c or source[members[0]] == source[q]:
                    continue
                pool = [v for v in videos if source[v] != source[q]]
                miss *= (1 - len(members) / len(pool)) ** sum(p >= 0 for p in picks)
            expected += 1 - miss
        random.append(expected / len(instances))
    return recall, random


@st.composite
def epochs(draw):
    videos = draw(st.integers(1, 14))
    classes = draw(st.integers(1, 4))
    sources = draw(st.lists(st.integers(0, 6), min_size=videos, max_size=videos))
    label = draw(st.lists(st.integers(-1, classes - 1), min_size=videos, max_size=videos))
    usable = draw(st.lists(st.booleans(), min_size=videos, max_size=videos))
    picks = draw(st.integers(0, 4))
    query = draw(st.lists(st.integers(0, videos - 1), max_size=10))
    row = st.lists(st.integers(-1, videos - 1), min_size=picks, max_size=picks)
    selected = [draw(row) for _ in query]
    return label, sources, usable, query, selected, picks, classes


@settings(max_examples=300, deadline=None)
@given(epochs(), st.booleans())
def test_equals_the_definition(epoch, by_video):
    label, source, usable, query, selected, picks, classes = epoch
    instance = list(range(len(label))) if by_video else source
    # A miner sees usable videos only, and so its queries are usable too.
    kept = [m for m, q in enumerate(query) if usable[q]]
    query = [query[m] for m in kept]
    selected = [
        [v if v >= 0 and usable[v] and source[v] != source[q] else -1 for v in selected[m]]
        for q, m in zip(query, kept, strict=True)
    ]
    got = class_mining_recall(
        np.array(query, np.int64),
        np.array(selected, np.int64).reshape(len(query), picks),
        label,
        instance,
        source_V=source,
        usable_V=usable,
        classes=classes,
    )
    recall, random = slow_recall(query, selected, label, instance, source, usable, classes)
    np.testing.assert_allclose(got.recall_C, recall)
    np.testing.assert_allclose(got.random_C, random, rtol=1e-9, atol=1e-12)


def test_own_source_never_counts_and_siblings_are_one_instance():
    label, source = [0, 0, 0, 0, 0], [0, 0, 1, 1, 2]
    got = class_mining_recall([0, 0], [[1, 0], [2, 3]], label, source)
    assert got.covered_C.tolist() == [1]
    assert got.recall_C.tolist() == [pytest.approx(1 / 3)]
    videos = class_mining_recall([0, 0], [[1, 0], [2, 3]], label, range(5), source_V=source)
    assert videos.covered_C.tolist() == [2]
    assert videos.recall_C.tolist() == [pytest.approx(2 / 5)]


def test_selection_outside_the_usable_videos_does_not_count():
    got = class_mining_recall([0], [[1, 2]], [0, 0, 0], [0, 1, 2], usable_V=[True, True, False])
    assert got.instances_C.tolist() == [2]
    assert got.recall_C.tolist() == [0.5]


def test_class_with_one_source_has_no_recall_in_either_unit():
    label, source = [0, 0, 1, 1], [0, 0, 1, 2]
    for unit in (source, range(4)):
        got = class_mining_recall([2, 3], [[3], [2]], label, unit, source_V=source)
        assert math.isnan(got.recall_C[0])
        assert math.isnan(got.random_C[0])
        assert (got.defined, got.undefined, got.perfect) == (1, 1, 1)
        assert got.median == got.mean == 1.0


def test_a_source_that_spans_classes_is_an_instance_of_each():
    got = class_mining_recall([0], [[2]], [0, 1, 0], [7, 7, 8])
    assert got.sources_C.tolist() == [2, 1]
    assert got.recall_C[0] == 0.5


def test_videos_without_label_take_no_part_but_fill_the_random_pool():
    got = class_mining_recall([0, 2], [[1], [0]], [0, 0, -1, -1], range(4))
    assert got.recall_C.tolist() == [0.5]
    # One pick of query 0 among the three others finds video 1 with probability 1/3, and video 0 is its own.
    assert got.random_C.tolist() == [pytest.approx(1 / 6)]


def test_nothing_mined_is_zero_and_no_labels_is_undefined():
    got = class_mining_recall(np.zeros(0, int), np.zeros((0, 3), int), [0, 0], [0, 1])
    assert got.recall_C.tolist() == got.random_C.tolist() == [0.0]
    none = class_mining_recall([0], [[1]], [-1, -1], [0, 1])
    assert len(none.recall_C) == 0
    assert math.isnan(none.median)
    assert math.isnan(none.mean_random)


def test_random_expectation_agrees_with_a_random_miner():
    rng = np.random.default_rng(5)
    label_V = np.repeat(np.arange(4), 12)
    source_V = np.arange(48) // 2
    query_M = np.arange(48)
    found = []
    for _ in range(300):
        selected_MP = np.stack([rng.choice(np.flatnonzero(source_V != source_V[q]), size=3) for q in query_M])
        got = class_mining_recall(query_M, selected_MP, label_V, source_V)
        found.append(got.mean)
    assert np.mean(found) == pytest.approx(got.mean_random, abs=0.01)


def test_published_variants_of_the_measure():
    kwargs = {"own_counts": True, "least_sources": 1}
    got = class_mining_recall([0, 1, 2], [[0], [0], [2]], [0, 0, 1], range(3), **kwargs)
    assert got.recall_C.tolist() == [0.5, 1.0]
    excluding = class_mining_recall([0, 1, 2], [[0], [0], [2]], [0, 0, 1], range(3), least_sources=1)
    assert excluding.recall_C.tolist() == [0.5, 0.0]


def test_true_positives_need_both_labels_and_another_source():
    right = true_positives([0, 3], [[1, 2, -1], [1, 2, 4]], [0, 0, 0, -1, -1], [0, 0, 1, 2, 3])
    assert right.tolist() == [[False, True, False], [False, False, False]]


def test_size_of_a_large_data_set():
    rng = np.random.default_rng(0)
    label_V = rng.integers(0, 400, 40_000)
    query_M = np.arange(40_000)
    got = class_mining_recall(query_M, rng.integers(0, 40_000, (40_000, 5)), label_V, query_M)
    # Independent picks of uniform videos: about 1 - exp(-5 / 400) of each class is found.
    assert got.mean == pytest.approx(got.mean_random, rel=0.05)
