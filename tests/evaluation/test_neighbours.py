"""Nearest neighbours in tiles against the whole product, ties included."""

from __future__ import annotations

import pytest
import torch

from cprspec.evaluation import neighbours
from cprspec.evaluation.neighbours import nearest, score_rows


def by_definition(query_QF, gallery_GF, top):
    """The whole product, sorted; equal scores by row."""
    order = (query_QF @ gallery_GF.T).argsort(dim=1, descending=True, stable=True)[:, :top]
    return (query_QF @ gallery_GF.T).gather(1, order), order


def whole_numbers(rows, size, most, seed):
    """Features whose products are exact in any precision and in any order, with many equal scores."""
    return torch.randint(-most, most + 1, (rows, size), generator=torch.Generator().manual_seed(seed)).float()


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 5)
    monkeypatch.setattr(neighbours, "GALLERY_AT_ONCE", 32)


@pytest.mark.parametrize(("queries", "gallery", "top", "most"), [
    (1, 1, 1, 3), (12, 33, 5, 1), (7, 200, 3, 2), (11, 90, 100, 2), (6, 64, 10, 0), (0, 9, 2, 1),
])  # fmt: skip
def test_equal_to_the_whole_product(small_tiles, queries, gallery, top, most):
    query_QF, gallery_GF = whole_numbers(queries, 6, most, 0), whole_numbers(gallery, 6, most, 1)
    score, row = by_definition(query_QF, gallery_GF, top)
    found = nearest(query_QF, gallery_GF, top)
    assert torch.equal(found.row_Qk, row)
    assert torch.equal(found.score_Qk, score)


@pytest.mark.parametrize("queries", [1, 15, 16, 40])
def test_a_query_is_scored_as_among_others(queries):
    generator = torch.Generator().manual_seed(0)
    query_QF, gallery_GF = torch.randn(600, 300, generator=generator), torch.randn(9000, 300, generator=generator)
    whole = query_QF @ gallery_GF.T
    found = nearest(query_QF[:queries], gallery_GF, 4)
    torch.testing.assert_close(found.score_Qk, whole[:queries].topk(4).values, rtol=0, atol=1e-4)
    together = nearest(query_QF, gallery_GF, 4)
    assert torch.equal(found.score_Qk, together.score_Qk[:queries])


@pytest.mark.parametrize("gallery", [1, 2, 300, 9000])
def test_nearest_are_the_highest_of_the_rows_of_scores(gallery):
    generator = torch.Generator().manual_seed(0)
    query_QF, gallery_GF = torch.randn(40, 70, generator=generator), torch.randn(gallery, 70, generator=generator)
    whole = torch.cat([scores for _, scores in score_rows(query_QF, gallery_GF)])
    torch.testing.assert_close(whole, query_QF @ gallery_GF.T, rtol=1e-5, atol=1e-4)
    found = nearest(query_QF, gallery_GF, 7)
    ordered = whole.sort(dim=1, descending=True, stable=True)
    assert torch.equal(found.score_Qk, ordered.values[:, :7])
    assert torch.equal(found.row_Qk, ordered.indices[:, :7])


def test_without_onednn(monkeypatch):
    query_QF, gallery_GF = whole_numbers(20, 6, 2, 0), whole_numbers(64, 6, 2, 1)
    with_it = nearest(query_QF, gallery_GF, 5)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    without = nearest(query_QF, gallery_GF, 5)
    assert torch.equal(without.row_Qk, with_it.row_Qk) and torch.equal(without.score_Qk, with_it.score_Qk)


def test_rows_of_scores(monkeypatch):
    monkeypatch.setattr(neighbours, "_SCORES_AT_ONCE", 20 * 50)
    query_QF, gallery_GF = whole_numbers(47, 4, 3, 0), whole_numbers(50, 4, 3, 1)
    parts = [*score_rows(query_QF, gallery_GF)]
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(0, 20), (20, 40), (40, 47)]
    assert torch.equal(torch.cat([scores for _, scores in parts]), query_QF @ gallery_GF.T)
    assert [*score_rows(query_QF[:0], gallery_GF)] == []
