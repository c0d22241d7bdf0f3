"""Miners against slow ones that follow the definition row by row."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.learning import cascade
from cprspec.learning.cascade import Cascade, LabelPick


def features(rows, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, size, generator=generator, dtype=torch.float64))


def coarse(rows, size, seed):
    """Features of few different values, so that many scores are equal."""
    return features(rows, size, seed).mul(2).round()


def slow_cascade(main_D, aux_D, bank_main_KD, bank_aux_KD, eligible_K, stages, ratio, topk):
    """One query: the rows that each stage keeps, best first."""
    rows = [k for k in range(len(bank_main_KD)) if eligible_K[k]]
    kept = []
    for stage in range(1, stages + 1):
        bank, anchor = (bank_main_KD, main_D) if stage % 2 == 1 or stage == stages else (bank_aux_KD, aux_D)
        count = topk if stage == stages else max(topk, math.floor(len(bank_main_KD) * ratio**stage))
        # Of rows with equal scores, the first in the bank.
        rows = sorted(sorted(rows), key=lambda k: -sum(a * b for a, b in zip(anchor, bank[k], strict=True)))[:count]
        kept.append(rows)
    return kept


@settings(max_examples=60, deadline=None)
@given(
    bank=st.integers(1, 40),
    stages=st.integers(1, 8),
    ratio=st.floats(0.05, 1),
    topk=st.integers(0, 12),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    make=st.sampled_from([features, coarse]),
    seed=st.integers(0, 2**20),
)
def test_same_as_row_by_row(bank, stages, ratio, topk, share, make, seed):
    main, aux = make(3, 4, seed), make(3, 4, seed + 1)
    bank_main, bank_aux = make(bank, 4, seed + 2), make(bank, 4, seed + 3)
    eligible = torch.rand(3, bank, generator=torch.Generator().manual_seed(seed)) < share
    mined = Cascade(stages=stages, ratio=ratio, topk=topk)(main, aux, bank_main, bank_aux, eligible)
    assert mined.rows_NP.shape == (3, topk)
    assert mined.rows_NP.dtype == torch.int64
    assert len(mined.survivors) == stages
    for n in range(3):
        kept = slow_cascade(
            main[n].tolist(), aux[n].tolist(), bank_main.tolist(), bank_aux.tolist(), eligible[n], stages, ratio, topk
        )
        for stage, rows in enumerate(kept):
            found = dict(zip(mined.survivors[stage][n].tolist(), mined.scores[stage][n].tolist(), strict=True))
            found.pop(-1, None)
            assert sorted(sorted(found), key=lambda k: -found[k]) == rows, f"stage {stage + 1}"
            assert stage + 1 < stages or list(found) == rows
        assert mined.rows_NP[n].tolist() == kept[-1] + [-1] * (topk - len(kept[-1]))


def test_many_queries_are_mined_for_in_turn(monkeypatch):
    views = [features(7, 8, 1), features(7, 8, 2), features(40, 8, 3), features(40, 8, 4)]
    eligible = torch.rand(7, 40, generator=torch.Generator().manual_seed(0)) < 0.5
    miner = Cascade(stages=3, ratio=0.5, topk=3)
    whole = miner(*views, eligible)
    monkeypatch.setattr(cascade, "SCORES_AT_ONCE", 100)
    turns = miner(*views, eligible)
    assert torch.equal(whole.rows_NP, turns.rows_NP)
    assert all(
        torch.equal(a.sort().values, b.sort().values) for a, b in zip(whole.survivors, turns.survivors, strict=True)
    )
    for a, b in zip(whole.scores, turns.scores, strict=True):
        torch.testing.assert_close(a.sort().values, b.sort().values)


def test_equal_scores():
    # Rows 0 to 19 are one clip seen twenty times: as many of them are kept as there is room for, in every stage, first ones.
    bank = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20))
    mined = Cascade(stages=3, ratio=0.25, topk=4)(bank[:1], bank[:1], bank, bank, torch.ones(1, 40, dtype=torch.bool))
    assert [len(set(rows[0].tolist())) for rows in mined.survivors] == [10, 4, 4]
    assert [rows[0].tolist() for rows in mined.survivors] == [list(range(10)), [0, 1, 2, 3], [0, 1, 2, 3]]


def test_scores_that_are_not_numbers():
    views = [features(3, 8, 1), features(3, 8, 2), features(40, 8, 3), features(40, 8, 4)]
    views[0][1], views[2][5] = torch.nan, torch.nan  # one query, and a row of the bank
    mined = Cascade(stages=3, ratio=0.5, topk=3)(*views, torch.ones(3, 40, dtype=torch.bool))
    assert [len(set(rows.tolist())) for rows in mined.rows_NP] == [3, 3, 3]
    assert all(5 not in rows[query] for rows in mined.survivors for query in (0, 2))


def test_sizes_truncate_the_floating_point_product():
    miner = Cascade(stages=3, ratio=0.7, topk=5)
    assert [miner.keeps(stage, 100) for stage in (1, 2, 3)] == [70, 48, 5]


def test_even_stage_counts_equal_the_odd_one_below():
    views = [features(4, 8, 1), features(4, 8, 2), features(64, 8, 3), features(64, 8, 4)]
    eligible = torch.ones(4, 64, dtype=torch.bool)
    three, four = (Cascade(stages=s, ratio=0.5, topk=3)(*views, eligible).rows_NP for s in (3, 4))
    assert torch.equal(three, four)
    assert not torch.equal(three, Cascade(stages=1, ratio=0.5, topk=3)(*views, eligible).rows_NP)


def test_label_pick_takes_eligible_rows_at_random():
    eligible = torch.rand(6, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    eligible[0] = False
    eligible[1] = torch.arange(50) < 2
    nothing = torch.zeros(6, 1), torch.zeros(6, 1), torch.zeros(50, 1), torch.zeros(50, 1)

    def pick(seed, topk=4):
        return LabelPick(topk=topk)(*nothing, eligible, generator=torch.Generator().manual_seed(seed)).rows_NP

    rows = pick(1)
    assert torch.equal(rows, pick(1))
    assert not torch.equal(rows, pick(2))
    assert rows[0].tolist() == [-1] * 4
    assert sorted(rows[1].tolist()) == [-1, -1, 0, 1]
    for n in range(2, 6):
        assert len(set(rows[n].tolist())) == 4
        assert all(eligible[n, k] for k in rows[n])
    # Over many draws every eligible row is about as frequent as any other.
    counts = torch.stack([torch.bincount(pick(seed)[2], minlength=50) for seed in range(2000)]).sum(0)
    expected = 2000 * 4 / int(eligible[2].sum())
    assert counts[~eligible[2]].sum() == 0
    assert (counts[eligible[2]] - expected).abs().max() < 5 * expected**0.5


def test_label_pick_of_zero_takes_all():
    eligible = torch.tensor([[True, False, True], [False, False, False]])
    rows = LabelPick(topk=0)(*[torch.zeros(2, 1)] * 2, *[torch.zeros(3, 1)] * 2, eligible).rows_NP
    assert rows.tolist() == [[0, -1, 2], [-1, -1, -1]]


@pytest.mark.parametrize("topk", [3, 9])
def test_label_pick_from_a_small_bank(topk):
    eligible = torch.ones(2, 5, dtype=torch.bool)
    rows = LabelPick(topk=topk)(*[torch.zeros(2, 1)] * 2, *[torch.zeros(5, 1)] * 2, eligible).rows_NP
    assert rows.shape == (2, topk)
    assert [(row >= 0).sum().item() for row in rows] == [min(topk, 5)] * 2
