"""Nearest-neighbour video retrieval: do the training videos nearest to a test video show its class?

Source: CoCLR's and IIC's protocols (PROTOCOL 4.1, 4.2). Pure functions of features and labels; float32. The similarities of all
test and training videos are never in memory at once.

Shapes: V videos of a split (Q test, G training; q of the test videos at a time), F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import normalize

from cprspec.evaluation.neighbours import score_rows


def centred(test_QF: Tensor, train_GF: Tensor) -> tuple[Tensor, Tensor]:
    """Both splits centred by their own mean and of unit length, so that inner products are CoCLR's similarities."""
    return unit(test_QF.float() - test_QF.float().mean(0)), unit(train_GF.float() - train_GF.float().mean(0))


def unit(feature_VF: Tensor) -> Tensor:
    """Of unit length, so that inner products are cosines: IIC's protocol (PROTOCOL 4.2)."""
    return normalize(feature_VF.float())


@frozen(eq=False)
class Ranked:
    """What the ranking of the training videos says of each test video.

    `rank_Q`: how many of other classes are at least as near as the nearest of its own, 2**62 where its class has none; so among
    equal similarities those of other classes come first, and an encoder that says the same of all gains nothing.
    `precision_Q`: average precision over the whole ranking, with the same order; NaN where its class has none.
    """

    rank_Q: Tensor
    precision_Q: Tensor


def rank(test_QF: Tensor, train_GF: Tensor, test_label_Q: Tensor, train_label_G: Tensor) -> Ranked:
    """Rank the training videos for each test video by inner product, some test videos at a time."""
    rank_Q = torch.empty(len(test_QF), dtype=torch.int64)
    precision_Q = torch.empty(len(test_QF), dtype=torch.float64)
    for rows, score_qG in score_rows(test_QF, train_GF):
        same_qG = test_label_Q[rows][:, None] == train_label_G
        rank_Q[rows] = _first_hit_rank(score_qG, same_qG)
        precision_Q[rows] = _average_precision(score_qG, same_qG)
    return Ranked(rank_Q, precision_Q)


def recall_at(ranked: Ranked, ks: Sequence[int]) -> dict[int, float]:
    """R@k: the share of test videos with a video of their class among the k nearest, for each of `ks`."""
    return {k: (ranked.rank_Q < k).double().mean().item() for k in ks}


def class_recall_at_1(ranked: Ranked, class_Q: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """R@1 of each class (NaN without test videos) and its number of test videos, `[classes]` each.

    `class_Q`: to which class each test video counts.
    """
    hit_Q = (ranked.rank_Q == 0).double()
    count_C = torch.bincount(class_Q, minlength=classes)
    return torch.bincount(class_Q, hit_Q, minlength=classes) / count_C, count_C


def mean_average_precision(ranked: Ranked) -> float:
    """mAP of the test videos whose class the training split has; NaN if there is none."""
    return ranked.precision_Q[~ranked.precision_Q.isnan()].mean().item()


def _first_hit_rank(score_qG: Tensor, same_qG: Tensor) -> Tensor:
    nearest_q = score_qG.masked_fill(~same_qG, -torch.inf).amax(1)
    ahead_q = (~(score_qG < nearest_q[:, None]) & ~same_qG).sum(1)  # NaN gains nothing either
    return torch.where(same_qG.any(1), ahead_q, 2**62)


def _average_precision(score_qG: Tensor, same_qG: Tensor) -> Tensor:
    # Stable sorts: other classes first, then by similarity, so that ties keep other classes ahead.
    by_class_qG = same_qG.to(torch.int8).argsort(dim=1, stable=True)
    order_qG = score_qG.gather(1, by_class_qG).argsort(dim=1, descending=True, stable=True)
    hit_qG = same_qG.gather(1, by_class_qG.gather(1, order_qG)).double()
    place_G = torch.arange(1, hit_qG.shape[1] + 1, device=hit_qG.device)
    return (hit_qG * hit_qG.cumsum(1) / place_G).sum(1) / hit_qG.sum(1)
