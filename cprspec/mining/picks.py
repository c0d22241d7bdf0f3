"""From bank rows to videos and back to labels: what training and replay do alike around a miner that sees none of it.

Legend: N queries, K bank rows, P picks of a query, V videos of the data set, R some of the queries, C survivors of a stage,
S stages.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from cprspec.learning.cascade import NONE, Mined
from cprspec.mining.funnel import Truth

RANKS_SHOWN = 10
"""Picks of an example that the mining table shows, best first."""


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


def stage_ranks(mined: Mined, query_R: Tensor) -> Tensor:
    """Where the first RANKS_SHOWN picks of some queries stood at each stage, int64 `[R,P,S]`: 0 best, -1 not a survivor.

    Rows beyond what was found are -1.
    """
    rows_RP = mined.rows_NP[query_R]
    first_RP = (rows_RP < 0).byte().argsort(dim=1, stable=True)[:, :RANKS_SHOWN]
    rows_RP = pad(rows_RP.gather(1, first_RP), (0, RANKS_SHOWN - first_RP.shape[1]), value=NONE)
    scores = mined.scores or (None,) * len(mined.survivors)
    ranks_SRP = [
        _ranks(rows_RP, survivors_NC[query_R], None if scores_NC is None else scores_NC[query_R])
        for survivors_NC, scores_NC in zip(mined.survivors, scores, strict=True)
    ]
    return torch.stack(ranks_SRP, dim=2) if ranks_SRP else rows_RP.new_empty((*rows_RP.shape, 0))


def _ranks(rows_RP: Tensor, survivors_RC: Tensor, scores_RC: Tensor | None) -> Tensor:
    """The place of each row among a stage's survivors, of which some are missing (-1): by score, or as they stand."""
    survivors_RC = pad(survivors_RC, (0, 1), value=NONE)  # so that there is one
    same_RPC = survivors_RC[:, None] == rows_RP[..., None]
    place_RP = same_RPC.byte().argmax(2)
    if scores_RC is None:
        rank_RP = ((survivors_RC >= 0).cumsum(1) - 1).gather(1, place_RP)
    else:
        scores_RC = pad(scores_RC, (0, 1), value=-torch.inf)
        rank_RP = (scores_RC[:, None] > scores_RC.gather(1, place_RP)[..., None]).sum(2)
    return rank_RP.masked_fill(~same_RPC.any(2) | (rows_RP < 0), NONE)
