"""The paired test over classes against its definition, and against scipy where that is installed."""

from __future__ import annotations

from itertools import product
from statistics import median

import numpy as np
import pytest

from cprspec.runs.paired import EXACT_UP_TO, RESAMPLES, difference, median_interval, signed_rank


def slow_signed_rank(differences):
    """W+ and p from the definition: midranks by counting, and every one of the 2^n signs."""
    kept = [d for d in differences if d != 0]
    sizes = [abs(d) for d in kept]
    ranks = [sum(s < mine for s in sizes) + (sum(s == mine for s in sizes) + 1) / 2 for mine in sizes]
    w = sum(r for r, d in zip(ranks, kept, strict=True) if d > 0)
    middle = sum(ranks) / 2
    sums = [
        sum(r for r, positive in zip(ranks, signs, strict=True) if positive)
        for signs in product((0, 1), repeat=len(kept))
    ]
    return w, sum(abs(s - middle) >= abs(w - middle) for s in sums) / len(sums)


def slow_interval(differences):
    """Median and interval by resampling the values themselves."""
    draw = np.random.default_rng(0)
    ordered = np.sort(differences)
    size = (RESAMPLES // 10, len(ordered))
    medians = [np.median(ordered[draw.integers(len(ordered), size=size, dtype=np.int32)], axis=1) for _ in range(10)]
    return median(differences), *np.quantile(np.concatenate(medians), (0.025, 0.975))


def eighteenths(rng, n):
    """Differences of two CMRs over 18 sources: many ties, some zeros."""
    return [difference(a / 18, b / 18) for a, b in rng.integers(0, 19, size=(n, 2)).tolist()]


@pytest.mark.parametrize("n", [0, 1, 2, 5, 8, 10])
def test_exact_p_counts_all_signs(n):
    rng = np.random.default_rng(n)
    for values in (eighteenths(rng, n), rng.normal(0.3, 1, n).tolist(), [0.0] * n, [0.5] * n):
        found = signed_rank(values)
        w, p = slow_signed_rank(values)
        assert found.exact
        assert found.w_plus == w
        assert found.p == pytest.approx(p, abs=1e-12)
        assert found.zeros == values.count(0.0)
        assert found.ranked == n - found.zeros


def test_ties_and_zeros_are_told():
    found = signed_rank([0.1, -0.1, 0.1, 0.2, 0.0, 0.0, -0.3, 0.3])
    assert (found.ranked, found.zeros, found.ties) == (6, 2, 5)


def test_rounding_errors_of_means_are_no_differences():
    assert 0.1 + 0.2 != 0.3
    assert difference(0.1 + 0.2, 0.3) == 0
    assert signed_rank([difference(0.1 + 0.2, 0.0), difference(0.3, 0.0)]).ties == 2


def test_the_normal_approximation_is_near_the_exact_p():
    rng = np.random.default_rng(1)
    values = eighteenths(rng, 3 * EXACT_UP_TO)
    found = signed_rank(values)
    assert not found.exact
    assert found.ranked > EXACT_UP_TO
    signs = rng.integers(0, 2, size=(20_000, found.ranked))
    kept = np.array([v for v in values if v])
    order = np.unique(np.abs(kept), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(order[2]) - (order[2] - 1) / 2)[order[1]]
    assert ranks.sum() == found.ranked * (found.ranked + 1) / 2
    far = np.abs(signs @ ranks - ranks.sum() / 2) >= abs(found.w_plus - ranks.sum() / 2)
    assert found.p == pytest.approx(far.mean(), abs=0.02)


def test_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    for n in (6, 20, EXACT_UP_TO):
        values = rng.normal(0.2, 1, n).tolist()
        theirs = stats.wilcoxon(values, method="exact")
        assert signed_rank(values).p == pytest.approx(theirs.pvalue, rel=1e-9)
    for n in (80, 150):
        values = eighteenths(rng, n)
        theirs = stats.wilcoxon(values, method="approx", correction=False, zero_method="wilcox")
        assert signed_rank(values).p == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 7, 10, 27])
def test_the_interval_is_that_of_resampled_medians(n):
    values = eighteenths(np.random.default_rng(n), n)
    found = median_interval(values)
    assert (found.median, found.low, found.high) == pytest.approx(slow_interval(values), abs=1e-12)
    assert found == median_interval(values)
    assert found.low <= found.median <= found.high


def test_an_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    found = [median_interval(rng.normal(1.0, 1.0, 31).tolist()) for _ in range(300)]
    covered = sum(i.low <= 1.0 <= i.high for i in found) / len(found)
    assert 0.90 <= covered <= 0.99
