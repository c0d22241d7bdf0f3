"""Replay against mining written out slowly, in every division of a batch, and with settings that share their work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recorded import LABEL, SOURCE, Book, recording, slowly

from cprspec.learning.cascade import Cascade, LabelPick
from cprspec.mining.banks import bank_of
from cprspec.mining.replay import Setting, replay


def mined(found, *settings):
    made = [Setting(miner, by_labels, Book()) for miner, by_labels in settings]
    replay(found, bank_of(found), made, lambda key: torch.Generator().manual_seed(hash(key)))
    return [setting.ledger for setting in made]


@pytest.mark.parametrize(("accumulate", "world"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("filled", [12, 4, 0])
def test_replay_equals_sorting_lists(filled, accumulate, world):
    found = recording(filled=filled, accumulate=accumulate, world=world)
    grid = [(stages, ratio, topk) for stages in (1, 2, 3, 5) for ratio in (0.5, 0.8) for topk in (1, 3)]
    books = mined(found, *((Cascade(stages=s, ratio=r, topk=k), False) for s, r, k in grid))
    for book, (stages, ratio, topk) in zip(books, grid, strict=True):
        queries, picks = slowly(found, stages, ratio, topk)
        assert book.queries == queries
        assert book.picks == picks
        assert len(queries) == accumulate * (6 - (12 - filled) // 4), "steps that fill the bank do not mine"


def test_settings_do_not_disturb_each_other():
    found = recording(filled=12)
    grid = [Cascade(stages=s, ratio=r, topk=k) for s in (1, 2, 3, 4, 5) for r in (0.3, 0.7) for k in (0, 1, 5)]
    together = mined(found, *((miner, False) for miner in grid))
    for book, miner in zip(together, grid, strict=True):
        (alone,) = mined(found, (miner, False))
        assert (book.queries, book.picks) == (alone.queries, alone.picks)
        assert all(np.array_equal(a, b) for a, b in zip(book.counts, alone.counts, strict=True))


def test_the_funnel_counts_what_the_definition_does():
    found = recording(filled=12, steps=1)
    (book,) = mined(found, (Cascade(stages=1, ratio=0.5, topk=3), False))
    bank = [int(v) for v in found.bank["video_K"]]
    bank_pairs = [(q, v) for q in book.queries[0] for v in bank if SOURCE[q] != SOURCE[v]]
    pick_pairs = [(q, v) for q, row in zip(book.queries[0], book.picks[0], strict=True) for v in row]
    in_bank = sum(bool(LABEL[q] == LABEL[v]) for q, v in bank_pairs)
    right = sum(bool(LABEL[q] == LABEL[v]) for q, v in pick_pairs)
    assert book.counts[0].tolist() == [[len(bank_pairs), in_bank, in_bank], [len(pick_pairs), right, in_bank]]


def test_a_label_miner_finds_only_right_videos_of_other_sources():
    found = recording(filled=12)
    oracle, everything, cascade = mined(
        found, (LabelPick(topk=2), True), (LabelPick(topk=0), True), (Cascade(stages=1, ratio=0.5, topk=2), False)
    )
    for book in (oracle, everything):
        for query_N, picks_NP in zip(book.queries, book.picks, strict=True):
            for query, row in zip(query_N, picks_NP, strict=True):
                assert all(LABEL[v] == LABEL[query] and SOURCE[v] != SOURCE[query] for v in row if v >= 0)
    assert cascade.picks == mined(found, (Cascade(stages=1, ratio=0.5, topk=2), False))[0].picks


def test_without_a_mining_view_keys_are_main_and_nothing_waits_for_a_full_bank():
    found = recording(filled=0, mining=False)
    (book,) = mined(found, (LabelPick(topk=0), True))
    assert len(book.queries) == 6
    assert all(v == -1 for row in book.picks[0] for v in row)
    assert any(v >= 0 for row in book.picks[-1] for v in row)
