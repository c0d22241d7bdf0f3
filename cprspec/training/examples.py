"""Which queries of an epoch the mining table shows, so that it is known while the epoch runs.

What is worth showing of a query (its picks' rank at each stage) is known only in its step and too much to keep for all. So
of each class every 2^j-th query that mined something is a candidate, j the smallest that leaves at most twice as many as are
shown: evenly spread, a function of the picks alone, and at any time among those kept so far.

Legend: N queries of a step, M of an epoch, P picks of a query, S stages.
"""

from __future__ import annotations

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

Ints = NDArray[np.int64]

UNKNOWN_AS_CLASSES = 8
"""Videos without a label are shown as so many classes would be."""


@frozen
class Sample:
    """`per_class` queries are shown of each class that mined (label -1: of all without one, more)."""

    per_class: int

    def shown(self, label_M: Ints, selected_MP: Ints) -> list[int]:
        """The queries to show, by class and then in the epoch's order."""
        shown: list[int] = []
        for label, candidates in self.candidates(label_M, selected_MP).items():
            count = min(self._wanted(label), len(candidates))
            places = np.linspace(0, len(candidates) - 1, num=count).astype(np.int64)
            shown += candidates[np.unique(places)].tolist()
        return shown

    def candidates(self, label_M: Ints, selected_MP: Ints) -> dict[int, Ints]:
        """The candidates of each class, of an epoch that is over or has come so far."""
        mined_m = np.flatnonzero((selected_MP >= 0).any(1))
        label_m = label_M[mined_m]
        every = {int(label): mined_m[label_m == label] for label in np.unique(label_m)}
        return {label: own[:: self.stride(label, len(own))] for label, own in every.items()}

    def stride(self, label: int, count: int) -> int:
        """Of `count` queries of a class that mined, every so many is a candidate: a power of two."""
        return 1 << (-(-count // (2 * self._wanted(label))) - 1).bit_length()

    def _wanted(self, label: int) -> int:
        return self.per_class * (UNKNOWN_AS_CLASSES if label < 0 else 1)


@define(eq=False)
class Candidates:
    """The candidates of an epoch so far: how many queries of each class mined, and the ranks `[P,S]` of their picks."""

    sample: Sample
    counts: dict[int, int] = field(factory=dict)
    ranks: dict[int, Ints] = field(factory=dict)

    def next(self, label_N: Ints, selected_NP: Ints) -> Ints:
        """The rows of a step that are candidates now."""
        mined_n = np.flatnonzero((selected_NP >= 0).any(1))
        rows = []
        for n, label in zip(mined_n.tolist(), label_N[mined_n].tolist(), strict=True):
            before = self.counts.get(label, 0)
            self.counts[label] = before + 1
            if before % self.sample.stride(label, before + 1) == 0:
                rows.append(n)
        return np.array(rows, np.int64)

    def restore(self, label_M: Ints, selected_MP: Ints, ranks: dict[int, Ints]) -> None:
        """Go on after these queries; `ranks` as `kept` gave them."""
        labels, counts = np.unique(label_M[(selected_MP >= 0).any(1)], return_counts=True)
        self.counts = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        self.ranks = dict(ranks)

    def kept(self, label_M: Ints, selected_MP: Ints) -> dict[int, Ints]:
        """The ranks of those that are candidates still, in the epoch's order."""
        still = {int(m) for own in self.sample.candidates(label_M, selected_MP).values() for m in own}
        return {m: ranks for m, ranks in sorted(self.ranks.items()) if m in still}
