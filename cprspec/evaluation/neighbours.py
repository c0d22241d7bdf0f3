"""Exact nearest neighbours by inner product, in tiles: memory depends on the tile, not on queries times gallery.

The answer is that of the whole product in float32, to the bit: the rows with the highest scores, of equal ones the lower row
first (on a GPU any). (A shortlist in bf16, scored again in float32, was tried and is slower: docs/experiments.md.)

Shapes: Q queries, G gallery rows, F features, q and g of a tile, k neighbours, m candidates.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from cprspec.learning.highest import highest
from cprspec.learning.similarity import inner

QUERIES_AT_ONCE, GALLERY_AT_ONCE = 256, 8192
"""The largest tile."""

_SCORES_AT_ONCE = 1 << 22
"""Scores of some queries with the whole gallery that are in memory at a time."""

_FEWEST = 16
"""Queries of a product: with fewer, the library takes another way, which gives other last bits."""


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
    queries = query_QF.split(QUERIES_AT_ONCE)
    found = [
        Neighbours(part.new_empty(len(part), 0), part.new_empty((len(part), 0), dtype=torch.int64)) for part in queries
    ]
    start = 0
    for gallery_gF in gallery_GF.tensor_split(max(1, -(-len(gallery_GF) // GALLERY_AT_ONCE))):
        for number, query_qF in enumerate(queries):
            row_qk, score_qk = highest(_product(query_qF, gallery_gF), None, top, ordered=True)
            found[number] = _best_of(found[number], Neighbours(score_qk, row_qk + start), top)
        start += len(gallery_gF)
    return Neighbours(torch.cat([part.score_Qk for part in found]), torch.cat([part.row_Qk for part in found]))


def _product(query_qF: Tensor, gallery_gF: Tensor) -> Tensor:
    if 0 < len(query_qF) < _FEWEST:
        padded = torch.cat([query_qF, query_qF.new_zeros(_FEWEST - len(query_qF), query_qF.shape[1])])
        return inner(padded, gallery_gF)[: len(query_qF)]
    return inner(query_qF, gallery_gF)


def _best_of(before: Neighbours, here: Neighbours, top: int) -> Neighbours:
    """The `top` highest of both; of equal ones those from before first."""
    if not before.row_Qk.shape[1]:
        return here
    score_qm, row_qm = torch.cat([before.score_Qk, here.score_Qk], 1), torch.cat([before.row_Qk, here.row_Qk], 1)
    order_qk = score_qm.argsort(dim=1, descending=True, stable=True)[:, :top]
    return Neighbours(score_qm.gather(1, order_qk), row_qm.gather(1, order_qk))
