"""The funnel's counts against loops over queries and survivors."""

from __future__ import annotations

import torch

from cprspec.mining.funnel import stage_counts


def slow_counts(survivors, query_label, bank_label, eligible):
    n, k = eligible.shape

    def ok(i, j):
        return bool(eligible[i, j]) and query_label[i] >= 0 and bank_label[j] >= 0

    in_bank = sum(ok(i, j) and query_label[i] == bank_label[j] for i in range(n) for j in range(k))
    rows = [[sum(ok(i, j) for i in range(n) for j in range(k)), in_bank, in_bank]]
    for stage in survivors:
        kept = [(i, int(j)) for i in range(n) for j in stage[i] if j >= 0 and ok(i, int(j))]
        rows.append([len(kept), sum(query_label[i] == bank_label[j] for i, j in kept), in_bank])
    return [[int(x) for x in row] for row in rows]


def test_equals_loops_over_everything():
    generator = torch.Generator().manual_seed(3)
    for n, k, sizes in [(4, 12, (6, 3, 2)), (1, 5, (5,)), (3, 8, ()), (2, 6, (3, 0))]:
        query = torch.randint(-1, 3, (n,), generator=generator)
        bank = torch.randint(-1, 3, (k,), generator=generator)
        eligible = torch.rand(n, k, generator=generator) < 0.8
        survivors = []
        for size in sizes:
            rows = torch.stack([torch.randperm(k, generator=generator)[:size] for _ in range(n)])
            rows[torch.rand(rows.shape, generator=generator) < 0.3] = -1
            survivors.append(rows)
        got = stage_counts(survivors, query, bank, eligible)
        assert got.dtype == torch.int64
        assert got.tolist() == slow_counts(survivors, query, bank, eligible)


def test_a_missing_pick_does_not_count_as_row_zero():
    eligible = torch.ones(1, 3, dtype=torch.bool)
    got = stage_counts([torch.tensor([[-1, -1]])], torch.tensor([0]), torch.tensor([0, 0, 1]), eligible)
    assert got.tolist() == [[3, 2, 2], [0, 0, 2]]
