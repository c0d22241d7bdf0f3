"""The highest scores of each query among some bank rows: what a stage of a cascade does.

On a GPU that is `topk`. On a CPU it is slow: it takes ten times as long as numpy to find the score that just gets in, by which
the others are compared. Rows then stay in the bank's order, so that what is looked up next lies one after the other in memory.

Shapes: N queries, K bank rows, C of them that are looked at, n that are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating[Any]]

_GROUP = 16
"""Scores in a group, of which only the best is looked at first."""


def exclude(excluded_NK: Tensor, *scores_NK: Tensor) -> None:
    """Set the scores of excluded rows to -inf, in place."""
    if excluded_NK.device.type != "cpu":
        for scores in scores_NK:
            scores.masked_fill_(excluded_NK, -torch.inf)
        return
    places = np.flatnonzero(excluded_NK.numpy())  # few as a rule: siblings
    for scores in scores_NK:
        scores.view(-1).numpy()[places] = -np.inf


def highest(scores_NK: Tensor, rows_NC: Tensor | None, size: int, *, ordered: bool) -> tuple[Tensor, Tensor]:
    """The `size` rows with the highest scores among `rows_NC` (None: all), or all of them if there are fewer, and their scores.

    `ordered`: the highest first; otherwise in no order that may be relied on. Rows must be ascending on a CPU, where of
    equal scores the lower row counts as higher. NaN is lower than any score there.
    """
    if scores_NK.device.type == "cpu":
        rows = None if rows_NC is None else rows_NC.numpy()
        rows_Nn, scores_Nn = _highest(scores_NK.numpy(), rows, size, ordered)
        return torch.from_numpy(rows_Nn), torch.from_numpy(scores_Nn)
    scores_NC = scores_NK if rows_NC is None else scores_NK.gather(1, rows_NC)
    found = scores_NC.topk(min(size, scores_NC.shape[1]), sorted=ordered)
    return found.indices if rows_NC is None else rows_NC.gather(1, found.indices), found.values


def marked(rows_NC: Tensor, scores_NC: Tensor, none: int) -> Tensor:
    """The rows with `none` in place of those whose score is -inf."""
    if scores_NC.device.type == "cpu" and scores_NC.numpy().min(initial=np.inf) > -np.inf:
        return rows_NC  # as a rule, and a copy costs; on a GPU to look would be to wait
    return rows_NC.masked_fill(scores_NC == -torch.inf, none)


def _highest(
    scores_NK: Floats, rows_NC: NDArray[np.int64] | None, size: int, ordered: bool
) -> tuple[NDArray[np.int64], Floats]:
    queries, bank = scores_NK.shape
    begins_N1 = np.arange(queries)[:, None] * bank
    scores_NC = scores_NK if rows_NC is None else scores_NK.reshape(-1).take(begins_N1 + rows_NC)
    size = min(size, scores_NC.shape[1])
    places = _places(scores_NC, size)
    scores_Nn = scores_NC.reshape(-1).take(places).reshape(queries, size)
    rows_Nn = (places if rows_NC is None else rows_NC.reshape(-1).take(places)).reshape(queries, size)
    if rows_NC is None:
        rows_Nn = rows_Nn - begins_N1
    if ordered:
        order_Nn = (-scores_Nn).argsort(axis=1, kind="stable")
        rows_Nn, scores_Nn = (np.take_along_axis(x, order_Nn, axis=1) for x in (rows_Nn, scores_Nn))
    return rows_Nn, scores_Nn


def _places(scores_NC: Floats, size: int) -> NDArray[np.int64]:
    """Where the `size` highest scores of each query stand in `scores_NC`, flattened: as many for each query, ascending.

    A few of many are looked for only among scores that are as high as the last of the `size` highest groups, each by its best.
    """
    queries, count = scores_NC.shape
    if 0 in (queries, size) or count < 2 * _GROUP * size:
        return _places_among_few(scores_NC, size)
    groups = count // _GROUP
    best_NG = scores_NC[:, : _GROUP * groups].reshape(queries, _GROUP, groups).max(1)
    places = np.flatnonzero(scores_NC >= np.partition(best_NG, groups - size, axis=1)[:, groups - size, None])
    found_N = np.bincount(places // count, minlength=queries)
    if found_N.min() < size:  # there is a NaN, which hides what else is in its group
        return _places_among_few(scores_NC, size)
    if len(places) == queries * size:
        return places
    there_NM = np.arange(found_N.max()) < found_N[:, None]
    places_NM, few_NM = np.zeros(there_NM.shape, np.int64), np.full(there_NM.shape, -np.inf, scores_NC.dtype)
    places_NM[there_NM], few_NM[there_NM] = places, scores_NC.reshape(-1).take(places)
    return places_NM.reshape(-1).take(_places_among_few(few_NM, size))


def _places_among_few(scores_NC: Floats, size: int) -> NDArray[np.int64]:
    """The same, by a look at each score."""
    queries, count = scores_NC.shape
    if size in (0, count):
        return np.arange(queries * size)
    lowest_N1 = np.partition(scores_NC, count - size, axis=1)[:, count - size, None]
    places = np.flatnonzero(scores_NC >= lowest_N1)
    if len(places) == queries * size:
        whose_N2 = places.reshape(queries, size)[:, [0, -1]] // count
        if (whose_N2 == np.arange(queries)[:, None]).all():
            return places
    # Several have the score that just gets in, or there is a NaN, with which nothing compares.
    scores_NC = np.where(np.isnan(scores_NC), -np.inf, scores_NC)
    lowest_N1 = np.partition(scores_NC, count - size, axis=1)[:, count - size, None]
    above_NC, equal_NC = scores_NC > lowest_N1, scores_NC == lowest_N1
    room_N1 = size - above_NC.sum(axis=1, keepdims=True)
    return np.flatnonzero(above_NC | (equal_NC & (equal_NC.cumsum(axis=1) <= room_N1)))
