"""The highest scores of a row, by a short list of candidates, against sorting; ties, infinities and NaN included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cprspec.learning.highest import highest


def by_sorting(scores_NK, size):
    """Rows by score, NaN as -inf, equal ones by row."""
    scores = np.where(np.isnan(scores_NK), -np.inf, scores_NK)
    return (-scores).argsort(axis=1, kind="stable")[:, :size]


def made(kind, queries, bank, seed):
    generator = np.random.default_rng(seed)
    scores = generator.standard_normal((queries, bank)).astype(np.float32)
    if kind == "equal":
        scores = np.round(scores)
    if kind == "excluded":
        scores[generator.random(scores.shape) < 0.6] = -np.inf
    if kind == "nan":
        scores[generator.random(scores.shape) < 0.05] = np.nan
    return scores


@given(
    kind=st.sampled_from(["plain", "equal", "excluded", "nan"]), queries=st.integers(1, 5), bank=st.integers(1, 400),
    size=st.integers(0, 12), seed=st.integers(0, 9999),
)  # fmt: skip
def test_as_by_sorting(kind, queries, bank, size, seed):
    scores_NK = made(kind, queries, bank, seed)
    wanted = by_sorting(scores_NK, size)
    rows, scores = highest(torch.from_numpy(scores_NK), None, size, ordered=False)
    assert (rows.sort(1).values.numpy() == np.sort(wanted, axis=1)).all()
    assert np.array_equal(scores.numpy(), np.take_along_axis(scores_NK, rows.numpy(), 1), equal_nan=True)
    if kind != "nan":
        assert (highest(torch.from_numpy(scores_NK), None, size, ordered=True)[0].numpy() == wanted).all()


@pytest.mark.parametrize("bank", [3, 1000])
def test_no_queries(bank):
    rows, scores = highest(torch.empty(0, bank), None, 5, ordered=True)
    assert rows.shape == scores.shape == (0, min(5, bank))


@pytest.mark.parametrize("value", [0.0, -np.inf, np.nan])
def test_of_equal_scores_the_lowest_rows(value):
    scores_NK = torch.full((3, 500), value)
    rows, _ = highest(scores_NK, None, 4, ordered=True)
    assert rows.tolist() == [[0, 1, 2, 3]] * 3
