"""Two groups over the same classes: is one higher, and by how much?

Wilcoxon's signed-rank test of the differences (Biometrics Bulletin 1, 1945; zeros left out, midranks for ties), and a
percentile bootstrap interval of their median (Efron, Annals of Statistics 7, 1979). The classes are the sample: nothing here
speaks of other seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_UP_TO = 50
"""So many differences that are not zero are ranked exactly; the normal approximation serves more of them."""

RESAMPLES = 10_000
_SEED = 0
_DIGITS = 9
"""Differences are the same when they agree in so many decimals: means over seeds carry rounding errors."""


@frozen(kw_only=True)
class SignedRank:
    """`w_plus`: sum of the ranks of the positive among `ranked` differences that are not zero; `p` is two-sided.

    `zeros`: differences of zero, left out; `ties`: of the ranked, those whose size another one has too. `exact`: p counts the
    signs that give a sum as far from its middle (given the ties); otherwise it is the normal approximation, corrected for ties.
    """

    w_plus: float
    p: float
    ranked: int
    zeros: int
    ties: int
    exact: bool


@frozen(kw_only=True)
class Interval:
    """The median, and the 95 % bootstrap interval around it."""

    median: float
    low: float
    high: float


def difference(mine: float, other: float) -> float:
    """`mine - other`, without the rounding errors that would make equal differences differ."""
    return round(mine - other, _DIGITS)


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Wilcoxon's signed-rank test that `differences` lie symmetrically around 0; p is 1 where all of them are 0."""
    kept = [d for d in differences if d]
    sizes = Counter(abs(d) for d in kept)
    # Twice the midrank is whole: below it, and below or at it, both counted.
    twice_rank: dict[float, int] = {}
    below = 0
    for size in sorted(sizes):
        twice_rank[size] = 2 * below + sizes[size] + 1
        below += sizes[size]
    twice_w = sum(twice_rank[d] for d in kept if d > 0)
    exact = len(kept) <= EXACT_UP_TO
    ranks = [twice_rank[abs(d)] for d in kept]
    return SignedRank(
        w_plus=twice_w / 2,
        p=_exact_p(ranks, twice_w) if exact else _normal_p(ranks, twice_w),
        ranked=len(kept),
        zeros=len(differences) - len(kept),
        ties=sum(count for count in sizes.values() if count > 1),
        exact=exact,
    )


def median_interval(differences: Sequence[float]) -> Interval:
    """The median of `differences` (at least one) and its interval over resamples of them; the same at every call."""
    import numpy as np

    ordered = np.sort(np.asarray(differences, dtype=np.float64))
    middle = _middles(len(ordered))
    low, high = np.quantile(ordered[middle].mean(0), (0.025, 0.975))
    return Interval(median=median(differences), low=float(low), high=float(high))


def _exact_p(ranks: Sequence[int], total: int) -> float:
    """The share of all signs of `ranks` whose positive sum is at least as far from the middle as `total`."""
    ways = [1]  # how many of the signs so far give each sum
    for rank in ranks:
        ways = [a + b for a, b in zip([*ways, *([0] * rank)], [*([0] * rank), *ways], strict=True)]
    whole = len(ways) - 1
    as_far = sum(count for value, count in enumerate(ways) if abs(2 * value - whole) >= abs(2 * total - whole))
    return float(as_far / 2 ** len(ranks))


def _normal_p(ranks: Sequence[int], total: int) -> float:
    """The same by the normal distribution with the sum's mean and variance; midranks make the correction for ties."""
    deviation = math.sqrt(sum(rank * rank for rank in ranks)) / 2
    return math.erfc(abs(total - sum(ranks) / 2) / deviation / math.sqrt(2))


@cache
def _middles(n: int) -> NDArray[Any]:
    """Places in a sorted sample of `n` of the two values whose mean is each resample's median, `[2, resamples]`.

    Drawn for places and not for values, they serve every sample of this size.
    """
    import numpy as np

    draw = np.random.default_rng(_SEED)
    places = []
    for _ in range(0, RESAMPLES, RESAMPLES // 10):  # by parts: data sets may have thousands of classes
        resample = draw.integers(n, size=(RESAMPLES // 10, n), dtype=np.int32)
        resample.partition([(n - 1) // 2, n // 2], axis=1)
        places.append(resample[:, [(n - 1) // 2, n // 2]].T)
    return np.concatenate(places, axis=1)
