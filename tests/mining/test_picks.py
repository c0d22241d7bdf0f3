"""Where picks stood at each stage, against looking them up one by one."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from cprspec.learning.cascade import Cascade, LabelPick, Mined
from cprspec.mining.picks import RANKS_SHOWN, stage_ranks


def slowly(mined, n):
    picks = [int(row) for row in mined.rows_NP[n] if row >= 0][:RANKS_SHOWN]
    scores = mined.scores or [-torch.arange(rows.shape[1]).expand_as(rows) for rows in mined.survivors]  # as they stand
    orders = [of_stage[n].argsort(descending=True) for of_stage in scores]
    stages = [
        [int(row) for row in rows[n][order] if row >= 0] for rows, order in zip(mined.survivors, orders, strict=True)
    ]
    ranks = [[kept.index(pick) if pick in kept else -1 for kept in stages] for pick in picks]
    return ranks + [[-1] * len(stages)] * (RANKS_SHOWN - len(picks))


def test_ranks_are_places_among_the_survivors():
    rng = torch.Generator().manual_seed(0)
    main, aux = normalize(torch.randn(6, 5, generator=rng)), normalize(torch.randn(6, 5, generator=rng))
    bank = normalize(torch.randn(2, 40, 5, generator=rng), dim=-1)
    eligible = torch.rand(6, 40, generator=rng) < torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])[:, None]
    for miner in (
        Cascade(stages=4, ratio=0.5, topk=3), Cascade(stages=1, ratio=0.5, topk=15), LabelPick(topk=0),
        LabelPick(topk=4),
    ):  # fmt: skip
        mined = miner(main, aux, *bank, eligible, generator=rng)
        query = torch.tensor([5, 0, 3, 1])
        ranks = stage_ranks(mined, query)
        assert ranks.tolist() == [slowly(mined, n) for n in query.tolist()]
        assert stage_ranks(mined, query[:0]).shape == (0, RANKS_SHOWN, len(mined.survivors))


def test_a_miner_may_pick_what_a_stage_left_out_or_have_no_stages():
    rows = torch.tensor([[3, -1, 1]])
    mined = Mined(rows, (torch.tensor([[1, -1, 2]]), torch.zeros(1, 0, dtype=torch.int64)))
    assert stage_ranks(mined, torch.tensor([0])).tolist()[0][:3] == [[-1, -1], [0, -1], [-1, -1]]
    assert stage_ranks(Mined(rows, ()), torch.tensor([0])).shape == (1, RANKS_SHOWN, 0)
