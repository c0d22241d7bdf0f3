"""Recognition: how often the true class of a test video is among those that a classifier finds most probable.

Pure functions of class probabilities and labels; two streams are joined by the mean of their probabilities (PROTOCOL 4.1).

Legend: V videos, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

TOP = (1, 5)
"""Among how many classes the true one is looked for."""


@frozen
class Judged:
    """`top[k]`: share of videos whose class is among the k most probable. `confusion_CC` counts videos, true class by row."""

    top: dict[int, float]
    confusion_CC: Tensor

    @property
    def per_class(self) -> list[float]:
        """Top-1 of each class, NaN without test videos."""
        return (self.confusion_CC.diag().double() / self.confusion_CC.sum(1)).tolist()


def judge(probability_VC: Tensor, label_V: Tensor, top: Sequence[int] = TOP) -> Judged:
    """Judge class probabilities of videos whose labels are known.

    Among equal probabilities the true class comes last: a classifier that says the same of all gains nothing.
    """
    probability_VC = probability_VC.nan_to_num()
    own_V1 = probability_VC.gather(1, label_V[:, None])
    ahead_V = (probability_VC >= own_V1).sum(1) - 1
    classes = probability_VC.shape[1]
    # Where the true class shares the first place, a wrong one is the answer, so that diagonal and top-1 agree.
    answer_V = probability_VC.scatter(1, label_V[:, None], own_V1 - (ahead_V > 0)[:, None].float()).argmax(1)
    confusion = torch.bincount(label_V * classes + answer_V, minlength=classes**2).view(classes, classes)
    return Judged({k: (ahead_V < k).double().mean().item() for k in top}, confusion)


def facts_of(found: dict[str, Tensor], label_V: Tensor, classes: Sequence[str], base: dict[str, Any]) -> dict[str, Any]:
    """Records, accuracy per class and confusion matrix of each encoder in `found`, whose rows are the labelled videos."""
    records: list[dict[str, Any]] = []
    per_class: dict[str, dict[str, float]] = {}
    confusion: dict[str, list[list[int]]] = {}
    for encoder, probability_VC in found.items():
        judged = judge(probability_VC, label_V)
        facts = {"n": len(label_V), "encoder": encoder, **base}
        records += [{"metric": f"top{k}", "value": value, **facts} for k, value in judged.top.items()]
        per_class[encoder] = dict(zip(classes, judged.per_class, strict=True))
        confusion[encoder] = judged.confusion_CC.tolist()
    return {"records": records, "per_class": per_class, "confusion": {"classes": list(classes), "counts": confusion}}
