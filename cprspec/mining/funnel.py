"""The mining funnel: how many true positives each stage of a cascade kept, and among how many survivors.

Counts are summed over the queries of an epoch and then divided: precision = true positives among survivors / survivors,
recall = true positives among survivors / true positives in the eligible bank, and the base rate is the precision of
stage 0, the whole eligible bank. Measured beside training with labels that no miner sees.

Legend: N queries, K bank rows, n_s survivors of stage s.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def stage_counts(
    survivors: Sequence[Tensor], query_label_N: Tensor, bank_label_K: Tensor, eligible_NK: Tensor
) -> Tensor:
    """Int64 `[stages + 1, 3]`: survivors, true positives among them, true positives in the eligible bank.

    Row 0 is the whole eligible bank, row s the survivors `[N,n_s]` of stage s, as bank rows, each at most once
    (-1: none). Labels are class numbers, -1 where unknown; unknown queries and bank rows take no part. `eligible_NK` says
    what each query may find.
    """
    countable_NK = eligible_NK & (query_label_N >= 0)[:, None] & (bank_label_K >= 0)[None, :]
    right_NK = countable_NK & (query_label_N[:, None] == bank_label_K[None, :])
    in_bank = right_NK.sum()
    counts = [torch.stack([countable_NK.sum(), in_bank, in_bank])]
    for survivors_Nn in survivors:
        rows_Nn, found_Nn = survivors_Nn.clamp(min=0), survivors_Nn >= 0
        kept = (countable_NK.gather(1, rows_Nn) & found_Nn).sum()
        right = (right_NK.gather(1, rows_Nn) & found_Nn).sum()
        counts.append(torch.stack([kept, right, in_bank]))
    return torch.stack(counts).to(torch.int64)
