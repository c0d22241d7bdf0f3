"""A seeded few of the trials with processes; the whole matrix is in test_matrix.py."""

from __future__ import annotations

import os

import process_trials as trials
import pytest

SEED = int(os.environ.get("CPRSPEC_FAULT_SEED", "0"))


def test_killed_in_the_middle_of_a_checkpoint(lab):
    trials.kill_in_save(lab, SEED)


def test_a_killed_rank_is_named_and_nothing_is_lost(lab):
    trials.kill_rank(lab, SEED)


@pytest.mark.parametrize("seed", [0, 1])
def test_stopped_at_a_place(lab, seed):
    trials.stop_at_a_place(lab, seed)


def test_a_second_signal_ends_it_at_once(lab):
    trials.stop_twice(lab, 0)


def test_a_loss_that_is_not_finite(lab):
    trials.not_finite(lab, SEED)


def test_an_update_that_overflows(lab):
    trials.update_overflows(lab, SEED)


def test_an_error_while_a_checkpoint_is_written(lab):
    trials.writer_breaks(lab, SEED)


def test_a_port_that_is_taken(lab):
    trials.port_in_use(lab, 0)
