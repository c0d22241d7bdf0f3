"""The cascade miner against two loops over queries: one by the definition, and one in the way of the published code.

    python benchmarks/cascade_speed.py [ROUNDS]

By the definition a query's rows are gathered, scored, sorted and kept, in the view of the stage. The published code scores the
whole bank once, then carries the features of what is kept in both views from stage to stage. One thread, embeddings of 128
dimensions, one row in a hundred not eligible; CPU time, interleaved. All three must choose the same.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

import torch
from measuring import interleaved, ratio
from torch import Tensor
from torch.nn.functional import normalize

from cprspec.learning.cascade import Cascade
from cprspec.learning.ranks import keep_freed_memory

SIZES = ((16, 2048), (64, 2048), (16, 16384), (64, 16384), (16, 65536), (64, 65536))
"""Queries, and rows of the bank."""

REPEATED = 10
"""Runs of the cascade in a round: one is over before the clock has moved far."""


def row_by_row(miner: Cascade, views: Sequence[Tensor], eligible_NK: Tensor) -> Tensor:
    """The rows `[N,topk]` mined one query after another."""
    main_ND, aux_ND, bank_main_KD, bank_aux_KD = views
    mined = []
    for n in range(len(main_ND)):
        rows = torch.nonzero(eligible_NK[n]).flatten()
        for stage in range(1, miner.stages + 1):
            by_main = stage % 2 == 1 or stage == miner.stages
            bank_KD, query_D = (bank_main_KD, main_ND[n]) if by_main else (bank_aux_KD, aux_ND[n])
            order = (bank_KD[rows] @ query_D).argsort(descending=True)
            rows = rows[order[: miner.keeps(stage, len(bank_main_KD))]]
        mined.append(rows)
    return torch.stack(mined)


def as_published(views: Sequence[Tensor], excluded_NK: Tensor, stages: int, ratio: float, topk: int) -> Tensor:
    """The rows `[N,topk]` mined in the way of the published code: the whole bank is scored once, and what is kept are features.

    Each stage scores the features that the stage before kept, sorts the best, and takes those of both views query by query.
    """
    main_ND, aux_ND, bank_main_KD, bank_aux_KD = views
    scores_NK = (main_ND @ bank_main_KD.T).masked_fill(excluded_NK, -torch.inf)
    rows = list(scores_NK.topk(int(len(bank_main_KD) * ratio) if stages > 1 else topk, dim=1).indices)
    main, aux = [bank_main_KD[kept] for kept in rows], [bank_aux_KD[kept] for kept in rows]
    for stage in range(2, stages + 1):
        last = stage == stages
        by_main = stage % 2 == 1 or last
        size = topk if last else max(int(len(bank_main_KD) * ratio**stage), topk)
        for n, (features, query_D) in enumerate(
            zip(main if by_main else aux, main_ND if by_main else aux_ND, strict=True)
        ):
            best = (features @ query_D).topk(size).indices
            rows[n] = rows[n][best]
            if not last:
                main[n], aux[n] = main[n][best], aux[n][best]
    return torch.stack(rows)


def main() -> None:
    """Run the rounds and print a line for each size."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    for queries, rows in SIZES:
        views = [normalize(torch.randn(count, 128)) for count in (queries, queries, rows, rows)]
        eligible_NK = torch.rand(queries, rows) > 0.01
        for stages in (3, 7):
            compare(Cascade(stages=stages, ratio=0.5, topk=5), views, eligible_NK, rounds)


def compare(miner: Cascade, views: Sequence[Tensor], eligible_NK: Tensor, rounds: int) -> None:
    """Print the milliseconds of the cascade, both ratios, and the share of queries for which all picks are the same."""
    options = miner.stages, miner.ratio, miner.topk
    ways = {
        "by definition": lambda: row_by_row(miner, views, eligible_NK),
        "as published": lambda: as_published(views, ~eligible_NK, *options),
        "cascade": lambda: [miner(*views, eligible_NK) for _ in range(REPEATED)],
    }
    mined_NP = miner(*views, eligible_NK).rows_NP
    same = [(mined_NP == ways[name]()).all(1).float().mean().item() for name in ("by definition", "as published")]
    seconds = interleaved(ways, rounds)
    seconds["cascade"] = [of_all / REPEATED for of_all in seconds["cascade"]]
    milliseconds = 1e3 * statistics.median(seconds["cascade"])
    queries, rows = eligible_NK.shape
    print(f"B {queries} K {rows} {miner.stages} stages: {milliseconds:.2f} ms, same picks {min(same):.4f}")
    for name in ("by definition", "as published"):
        print(f"  against the loop {name:14} {ratio(seconds[name], seconds['cascade'])}", flush=True)


if __name__ == "__main__":
    main()
