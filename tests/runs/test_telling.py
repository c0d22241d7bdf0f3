"""A run's events as lines: how long things take, and how long they will."""

from __future__ import annotations

import pytest
from attrs import evolve
from sample_runs import step_event

from cprspec.runs import events
from cprspec.runs.telling import Narrator, duration

PHASE = events.PhaseStarted(
    phase="rgb", position=1, of=3, views=("rgb",), miner="cascade", epochs=2, steps_per_epoch=50, reused_from=None
)


def test_time_left_is_never_negative_and_unknown_at_first():
    told, step = Narrator(), step_event("rgb", 0)
    assert told.seconds_left() is None
    told.line(PHASE)
    told.line(evolve(step, step=0, t_s=100.0))
    assert told.seconds_left() is None
    told.line(evolve(step, step=10, t_s=90.0))
    assert told.seconds_left() == 0.0
    told.line(evolve(step, step=20, t_s=120.0))
    assert told.seconds_left() == pytest.approx(79.0)
    told.line(evolve(step, step=500, t_s=130.0))
    assert told.seconds_left() == 0.0
    told.line(evolve(PHASE, phase="next"))
    assert told.seconds_left() is None


def test_durations():
    assert [duration(s) for s in (-5, 0.4, 59.4, 59.6, 3599, 3600, 90000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "1 h 00 min",
        "25 h 00 min",
    ]
