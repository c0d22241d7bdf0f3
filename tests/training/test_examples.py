"""Which queries are shown: evenly spread, and always among the candidates that were known while the epoch ran."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprspec.training.examples import Candidates, Sample


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(-1, 2), max_size=200), per_class=st.integers(1, 3), seed=st.integers(0, 99))
def test_what_is_shown_was_a_candidate_in_its_step(labels, per_class, seed):
    rng = np.random.default_rng(seed)
    label, selected = np.array(labels, np.int64), rng.integers(-1, 2, (len(labels), 1))
    sample, kept = Sample(per_class), set()
    candidates = Candidates(sample)
    for first in range(0, len(label), 7):
        rows = candidates.next(label[first : first + 7], selected[first : first + 7])
        kept |= {first + int(row) for row in rows}
    shown = sample.shown(label, selected)
    assert set(shown) <= kept
    assert len(shown) == len(set(shown))
    for c in set(labels):
        mined = np.flatnonzero((label == c) & (selected[:, 0] >= 0))
        assert sum(label[m] == c for m in shown) == min(len(mined), per_class * (8 if c < 0 else 1))


@pytest.mark.parametrize("count", [1, 8, 9, 100, 1000])
def test_examples_are_spread_over_the_epoch(count):
    shown = Sample(4).shown(np.zeros(count, np.int64), np.zeros((count, 1), np.int64))
    assert shown[0] == 0
    assert count == 1 or shown[-1] >= count * 0.75 - 1
    assert max(np.diff([*shown, count])) <= count / 2 + 1
