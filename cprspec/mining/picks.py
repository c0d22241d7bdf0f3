"""From bank rows to videos and back to labels: what training and replay do alike around a miner that sees none of it.

Legend: N queries, K bank rows, P picks of a query, V videos of the data set.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cprspec.learning.cascade import Mined
from cprspec.mining.funnel import Truth


def same_class(label_V: Tensor, video_N: Tensor, bank_video_K: Tensor) -> Tensor:
    """Which filled bank rows have each query's label, bool `[N,K]`: what a label-mining reference may choose."""
    return (label_V[video_N][:, None] == label_V[bank_video_K.clamp(min=0)]) & (bank_video_K >= 0)


def bank_truth(label_V: Tensor, video_N: Tensor, bank_video_K: Tensor, eligible_NK: Tensor) -> Truth:
    """What is right for each query among its eligible rows, for the funnel."""
    bank_label_K = torch.where(bank_video_K >= 0, label_V[bank_video_K.clamp(min=0)], -1)
    return Truth.of(label_V[video_N], bank_label_K, eligible_NK)


def picked(mined: Mined, truth: Truth, bank_video_K: Tensor) -> tuple[Tensor, Tensor]:
    """The videos `[N,P]` behind the mined rows (-1: none), and the funnel's `stage_counts`, as the ledger takes them."""
    rows_NP = mined.rows_NP
    selected_NP = torch.where(rows_NP >= 0, bank_video_K[rows_NP.clamp(min=0)], -1)
    return selected_NP, truth.counts(mined.survivors)
