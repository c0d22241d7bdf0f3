"""The mining funnel: how many true positives each stage of a cascade kept, and among how many survivors.

Counts are summed over the queries of an epoch and then divided: precision = true positives among survivors / survivors,
recall = true positives among survivors / true positives in the eligible bank, and the base rate is the precision of
stage 0, the whole eligible bank. Measured beside training with labels that no miner sees.

Legend: N queries, K bank rows, n_s survivors of stage s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from attrs import field, frozen
from torch import Tensor


def stage_counts(
    survivors: Sequence[Tensor], query_label_N: Tensor, bank_label_K: Tensor, eligible_NK: Tensor
) -> Tensor:
    """Int64 `[stages + 1, 3]`: survivors, true positives among them, true positives in the eligible bank.

    Row 0 is the whole eligible bank, row s the survivors `[N,n_s]` of stage s, as bank rows, each at most once
    (-1: none). Labels are class numbers, -1 where unknown; unknown queries and bank rows take no part. `eligible_NK` says
    what each query may find.
    """
    return Truth.of(query_label_N, bank_label_K, eligible_NK).counts(survivors)


@frozen(eq=False)
class Truth:
    """Which eligible bank rows can be judged for each query, and which are right, bool `[N,K]`.

    Survivors that are counted again (the same tensor: cascades that begin alike) cost nothing.
    """

    countable_NK: Tensor
    right_NK: Tensor
    _counted: dict[int, tuple[Tensor, Tensor]] = field(factory=dict, init=False)

    @classmethod
    def of(cls, query_label_N: Tensor, bank_label_K: Tensor, eligible_NK: Tensor) -> Truth:
        """By labels: class numbers, -1 where unknown."""
        countable_NK = eligible_NK & (query_label_N >= 0)[:, None] & (bank_label_K >= 0)[None, :]
        return cls(countable_NK, countable_NK & (query_label_N[:, None] == bank_label_K[None, :]))

    def counts(self, survivors: Sequence[Tensor]) -> Tensor:
        """`stage_counts` of these survivors."""
        in_bank = self._in_bank[1]
        rows = [self._in_bank, *(self._count(survivors_Nn) for survivors_Nn in survivors)]
        return torch.stack([torch.stack([*row.unbind(), in_bank]) for row in rows])

    @cached_property
    def _in_bank(self) -> Tensor:
        return torch.stack([self.countable_NK.count_nonzero(), self.right_NK.count_nonzero()])

    def _count(self, survivors_Nn: Tensor) -> Tensor:
        """Survivors that can be judged, and right ones among them, int64 `[2]`."""
        known = self._counted.get(id(survivors_Nn))
        if known is None:
            rows_Nn, found_Nn = survivors_Nn.clamp(min=0), survivors_Nn >= 0
            kept = (self.countable_NK.gather(1, rows_Nn) & found_Nn).count_nonzero()
            right = (self.right_NK.gather(1, rows_Nn) & found_Nn).count_nonzero()
            # The tensor is kept beside its count, so that no other takes its id.
            known = self._counted[id(survivors_Nn)] = survivors_Nn, torch.stack([kept, right])
        return known[1]
