"""How alike queries and bank rows are, also where the bank is kept in bf16 (half the memory) and the queries are float32.

Such rows are compared as float32, a tile of the bank at a time, so that it never lies in memory twice; the scores, and all that
follows from them, are float32. Rounding the rows of a bank of unit vectors to bf16 moves a score by at most 2^-8.

Shapes: N queries, K bank rows, D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

TILE = 4096
"""Bank rows that are float32 at a time."""


def inner(query_ND: Tensor, bank_KD: Tensor) -> Tensor:
    """The dot products `[N,K]`, without a gradient: those of float32 rows on a CPU by oneDNN, whose products take half of MKL's
    time (`@`) on some processors, and as long on others."""
    with torch.no_grad():
        if not _onednn_takes(query_ND, bank_KD):
            return query_ND @ bank_KD.T
        return linear(query_ND.to_mkldnn(), bank_KD).to_dense()


def _onednn_takes(query_ND: Tensor, bank_KD: Tensor) -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and query_ND.device.type == "cpu"
        and query_ND.dtype == bank_KD.dtype == torch.float32
        and 0 not in (*query_ND.shape, len(bank_KD))
        and not torch.is_autocast_enabled("cpu")
    )


def similarity(query_ND: Tensor, bank_KD: Tensor) -> Tensor:
    """The dot product of each query with each bank row, `[N,K]` in the queries' type. The bank gets no gradient."""
    if bank_KD.dtype != query_ND.dtype:
        scores_NK: Tensor = _InTiles.apply(query_ND, bank_KD)
        return scores_NK
    learns = torch.is_grad_enabled() and query_ND.requires_grad
    return query_ND @ bank_KD.T if learns else inner(query_ND, bank_KD)


class _InTiles(torch.autograd.Function):
    """`query_ND @ bank_KD.T`, of which back-propagation keeps the bank as it is."""

    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, bank_KD: Tensor) -> Tensor:
        ctx.save_for_backward(bank_KD)
        scores_NK = query_ND.new_empty(len(query_ND), len(bank_KD))
        for scores, rows in zip(scores_NK.split(TILE, dim=1), bank_KD.split(TILE), strict=True):
            scores.copy_(inner(query_ND, rows.to(query_ND.dtype)))
        return scores_NK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (bank_KD,) = ctx.saved_tensors
        (grad_NK,) = grads
        of_query = grad_NK.new_zeros(len(grad_NK), bank_KD.shape[1])
        for grad, rows in zip(grad_NK.split(TILE, dim=1), bank_KD.split(TILE), strict=True):
            of_query.addmm_(grad, rows.to(grad.dtype))
        return of_query, None
