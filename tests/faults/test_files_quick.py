"""A seeded few of the trials with files; the whole matrix is in test_matrix.py."""

from __future__ import annotations

import file_trials as trials
import pytest


@pytest.mark.parametrize(
    ("trial", "count"),
    [
        (trials.torn_log, 3),
        (trials.damaged_checkpoint, 40),
        (trials.race_for_a_run, 2),
        (trials.stale_lock, 3),
        (trials.hostile_weights, 1),
        (trials.pickle_under_any_name, 2),
        (trials.wrong_weights, 6),
        (trials.changed_after_loading, 4),
        (trials.deleted_run, 1),
        (trials.full_disk, 1),
        (trials.fallback, 2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_trials(lab, trial, count):
    for seed in range(count):
        trial(lab, seed)
