"""Exact nearest neighbours by inner product, in tiles: memory depends on the tile, not on queries times gallery.

The answer is that of the whole product in float32, to the bit: the rows with the highest scores, of equal ones the lower row
first. (A shortlist in bf16, scored again in float32, was tried and is slower: docs/experiments.md.)

Shapes: Q queries, G gallery rows, F features, q and g of a tile, k neighbours, m candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

QUERIES_AT_ONCE, GALLERY_AT_ONCE = 256, 8192
"""The largest tile."""

_SCORES_AT_ONCE = 1 << 22
"""Scores of some queries with the whole gallery that are in memory at a time."""

_FEWEST = 16
"""Queries of a product: with fewer, BLAS takes another way, which gives other last bits."""


@frozen(eq=False)
class Neighbours:
    """For each query its nearest gallery rows, nearest first: `score_Qk` and `row_Qk`; k is the gallery's size at most."""

    score_Qk: Tensor
    row_Qk: Tensor


def score_rows(query_QF: Tensor, gallery_GF: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Inner products in float32 with the whole gallery, `[q,G]` for some queries after others, which the slice names."""
    at_once = max(_FEWEST, min(QUERIES_AT_ONCE, _SCORES_AT_ONCE // max(1, len(gallery_GF))))
    for start in range(0, len(query_QF), at_once):
        rows = slice(start, min(start + at_once, len(query_QF)))
        yield rows, _product(query_QF[rows], gallery_GF)


def nearest(query_QF: Tensor, gallery_GF: Tensor, top: int) -> Neighbours:
    """The `top` nearest rows of the gallery for each query; features are finite float32, `top` at least 1."""
    tiles = gallery_GF.tensor_split(max(1, -(-len(gallery_GF) // GALLERY_AT_ONCE)))
    found = [_over_tiles(query_qF, tiles, top) for query_qF in query_QF.split(QUERIES_AT_ONCE)]
    return Neighbours(torch.cat([part.score_Qk for part in found]), torch.cat([part.row_Qk for part in found]))


def _over_tiles(query_qF: Tensor, tiles: Sequence[Tensor], top: int) -> Neighbours:
    """The best of all tiles; what came first stays first among equals."""
    best = Neighbours(query_qF.new_empty(len(query_qF), 0), query_qF.new_empty((len(query_qF), 0), dtype=torch.int64))
    start = 0
    for gallery_gF in tiles:
        here = _of_scores(_product(query_qF, gallery_gF), min(top, len(gallery_gF)))
        score_qm = torch.cat([best.score_Qk, here.score_Qk], 1)
        best = _first(score_qm, torch.cat([best.row_Qk, here.row_Qk + start], 1), top)
        start += len(gallery_gF)
    return best


def _product(query_qF: Tensor, gallery_gF: Tensor) -> Tensor:
    if 0 < len(query_qF) < _FEWEST:
        padded = torch.cat([query_qF, query_qF.new_zeros(_FEWEST - len(query_qF), query_qF.shape[1])])
        return (padded @ gallery_gF.T)[: len(query_qF)]
    return query_qF @ gallery_gF.T


def _of_scores(score_qg: Tensor, top: int) -> Neighbours:
    """The `top` highest of a tile's scores."""
    score_qk, row_qk = score_qg.topk(min(top + 1, score_qg.shape[1]))
    # Which of equal scores topk takes is not said: where the next one is as high as its last, all are sorted.
    tied_q = score_qk[:, top:].eq(score_qk[:, top - 1 : top]).any(1)
    ascending_qk = row_qk[:, :top].sort(1).values
    found = _first(score_qg.gather(1, ascending_qk), ascending_qk, top)
    if bool(tied_q.any()):
        every_g = torch.arange(score_qg.shape[1], device=score_qg.device)
        whole = _first(score_qg[tied_q], every_g.expand(int(tied_q.sum()), -1), top)
        found.score_Qk[tied_q], found.row_Qk[tied_q] = whole.score_Qk, whole.row_Qk
    return found


def _first(score_qm: Tensor, row_qm: Tensor, top: int) -> Neighbours:
    """The `top` highest scores; equal ones stay in the order in which they stand."""
    order_qk = score_qm.argsort(dim=1, descending=True, stable=True)[:, :top]
    return Neighbours(score_qm.gather(1, order_qk), row_qm.gather(1, order_qk))
