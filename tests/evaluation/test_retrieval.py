"""Retrieval measures against loops that follow their definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.evaluation.retrieval import (
    centred,
    class_recall_at_1,
    mean_average_precision,
    rank,
    recall_at,
)


def slow_ranking(scores, label, labels):
    """Gallery labels from the nearest on; among equals those of other classes first."""
    order = sorted(range(len(labels)), key=lambda g: (-scores[g], labels[g] == label))
    return [labels[g] == label for g in order]


@settings(max_examples=60, deadline=None)
@given(tests=st.integers(1, 6), gallery=st.integers(1, 12), ties=st.booleans(), seed=st.integers(0, 2**20))
def test_recall_and_precision(tests, gallery, ties, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(tests, gallery, generator=generator)
    scores = scores.round() if ties else scores
    test_label, train_label = (torch.randint(0, 3, (n,), generator=generator) for n in (tests, gallery))
    rankings = [slow_ranking(scores[q].tolist(), test_label[q].item(), train_label.tolist()) for q in range(tests)]
    ranked = rank(scores, torch.eye(gallery), test_label, train_label)
    recall = recall_at(ranked, (1, 3, 50))
    for k in (1, 3, 50):
        assert recall[k] == pytest.approx(sum(any(r[:k]) for r in rankings) / tests)
    precisions = []
    for ranking in rankings:
        hits = [i for i, hit in enumerate(ranking) if hit]
        if hits:
            precisions.append(sum((n + 1) / (i + 1) for n, i in enumerate(hits)) / len(hits))
    expected = sum(precisions) / len(precisions) if precisions else math.nan
    assert mean_average_precision(ranked) == pytest.approx(expected, nan_ok=True)
    share, count = class_recall_at_1(ranked, test_label, 3)
    for c in range(3):
        own = [rankings[q][0] for q in range(tests) if test_label[q] == c]
        assert count[c] == len(own)
        assert share[c].item() == pytest.approx(sum(own) / len(own) if own else math.nan, nan_ok=True)


def test_a_constant_encoder_gains_nothing():
    labels = torch.tensor([0, 1, 2, 3])
    assert recall_at(rank(torch.zeros(4, 2), torch.ones(4, 2), labels, labels), (1, 3, 4)) == {1: 0, 3: 0, 4: 1}


@pytest.mark.parametrize("where", ["queries", "gallery"])
def test_features_that_are_not_numbers_gain_nothing(where):
    labels, test, train = torch.tensor([0, 1, 2, 3]), torch.eye(4), torch.eye(4)
    (test if where == "queries" else train)[:] = torch.nan
    assert recall_at(rank(test, train, labels, labels), (1, 3, 4)) == {1: 0, 3: 0, 4: 1}


def test_many_queries_are_ranked_in_parts():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(600, 20, generator=generator)
    test_label, train_label = (torch.randint(0, 4, (n,), generator=generator) for n in (600, 20))
    whole = rank(scores, torch.eye(20), test_label, train_label)
    for q in range(0, 600, 7):
        alone = rank(scores[q : q + 1], torch.eye(20), test_label[q : q + 1], train_label)
        assert alone.rank_Q == whole.rank_Q[q]
        assert alone.precision_Q == whole.precision_Q[q]


def test_each_split_is_centred_by_its_own_mean():
    generator = torch.Generator().manual_seed(0)
    test, train = torch.randn(4, 5, generator=generator), torch.randn(6, 5, generator=generator)
    test_QF, train_GF = centred(test + 100, train - 3)
    found = test_QF @ train_GF.T
    for q in range(4):
        for g in range(6):
            a, b = test[q] - test.mean(0), train[g] - train.mean(0)
            assert found[q, g].item() == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-4)
