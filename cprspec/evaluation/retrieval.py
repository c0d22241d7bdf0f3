"""Nearest-neighbour video retrieval: do the training videos nearest to a test video show its class?

Source: CoCLR's and IIC's protocols (PROTOCOL 4.1, 4.2). Pure functions of features and labels; float32.

Shapes: V videos of a split (Q test, G training), N clips, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

_AT_ONCE = 256
"""Test videos whose whole ranking is in memory at a time."""


def video_features(clip_feature_NF: Tensor, clips_per_video_V: Tensor) -> Tensor:
    """Each video's mean of its normalised clip features, `[N,F] -> [V,F]`; a video's clips are consecutive."""
    videos = [normalize(clips_NF.float()).mean(0) for clips_NF in clip_feature_NF.split(clips_per_video_V.tolist())]
    return torch.stack(videos)


def similarity(test_QF: Tensor, train_GF: Tensor) -> Tensor:
    """Cosines `[Q,G]` after centring each split by its own mean."""
    return cosines(test_QF.float() - test_QF.float().mean(0), train_GF.float() - train_GF.float().mean(0))


def cosines(test_QF: Tensor, train_GF: Tensor) -> Tensor:
    """Cosines `[Q,G]` of the features as they are: IIC's protocol (PROTOCOL 4.2)."""
    return normalize(test_QF.float()) @ normalize(train_GF.float()).T


def recall_at(
    similarity_QG: Tensor, test_label_Q: Tensor, train_label_G: Tensor, ks: Sequence[int]
) -> dict[int, float]:
    """R@k: the share of test videos with a video of their class among the k nearest, for each of `ks`.

    Among equal similarities those of other classes come first: an encoder that says the same of all gains nothing.
    """
    rank_Q = first_hit_rank(similarity_QG, test_label_Q, train_label_G)
    return {k: (rank_Q < k).double().mean().item() for k in ks}


def class_recall_at_1(
    similarity_QG: Tensor, test_label_Q: Tensor, train_label_G: Tensor, classes: int, class_Q: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """R@1 of each class (NaN without test videos) and its number of test videos, `[classes]` each.

    `class_Q`: to which class each test video counts, where that is not its label.
    """
    hit_Q = (first_hit_rank(similarity_QG, test_label_Q, train_label_G) == 0).double()
    class_Q = test_label_Q if class_Q is None else class_Q
    count_C = torch.bincount(class_Q, minlength=classes)
    return torch.bincount(class_Q, hit_Q, minlength=classes) / count_C, count_C


def first_hit_rank(similarity_QG: Tensor, test_label_Q: Tensor, train_label_G: Tensor) -> Tensor:
    """How many videos of other classes are at least as near as the nearest of the own class, `[Q]`; 2**62 without one."""
    same_QG = test_label_Q[:, None] == train_label_G
    nearest_Q = similarity_QG.masked_fill(~same_QG, -torch.inf).amax(1)
    ahead_Q = ((similarity_QG >= nearest_Q[:, None]) & ~same_QG).sum(1)
    return torch.where(same_QG.any(1), ahead_Q, 2**62)


def mean_average_precision(similarity_QG: Tensor, test_label_Q: Tensor, train_label_G: Tensor) -> float:
    """mAP over the whole ranking, of the test videos whose class the training split has; NaN if there is none.

    Equal similarities are ordered against the query, as in `recall_at`.
    """
    some = zip(similarity_QG.split(_AT_ONCE), test_label_Q.split(_AT_ONCE), strict=True)
    precision_Q = torch.cat([_average_precision(scores, label[:, None] == train_label_G) for scores, label in some])
    return precision_Q[~precision_Q.isnan()].mean().item()


def _average_precision(similarity_QG: Tensor, same_QG: Tensor) -> Tensor:
    # Stable sorts: other classes first, then by similarity, so that ties keep other classes ahead.
    by_class_QG = same_QG.to(torch.int8).argsort(dim=1, stable=True)
    order_QG = similarity_QG.gather(1, by_class_QG).argsort(dim=1, descending=True, stable=True)
    hit_QG = same_QG.gather(1, by_class_QG.gather(1, order_QG)).double()
    place_G = torch.arange(1, hit_QG.shape[1] + 1, device=hit_QG.device)
    return (hit_QG * hit_QG.cumsum(1) / place_G).sum(1) / hit_QG.sum(1)
