"""The curves of a run while it writes: nothing is read twice, attempts replace each other, long phases are thinned."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from sample_runs import epoch_event, step_event

from cprspec.runs import events, history
from cprspec.runs.history import History
from cprspec.runs.layout import RunDir
from cprspec.runs.tail import read_events


def started(phase, position=0, epochs=100):
    return events.PhaseStarted(
        phase=phase, position=position, of=2, views=("rgb",), miner=None, epochs=epochs, steps_per_epoch=4,
        reused_from=None,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path)


def test_it_grows_with_the_log(run):
    followed = History(run)
    assert followed.read() is False
    assert followed.problem is not None
    with events.EventLog(run.events) as log:
        log.write(started("rgb"))
        log.write(step_event("rgb", 0, loss=None))
        followed.read()
        assert list(followed.phases["rgb"].steps["step"]) == [0]
        assert math.isnan(followed.phases["rgb"].steps["loss"][0])
        log.write(step_event("rgb", 1, loss=2.0))
        log.write(epoch_event("rgb", 0))
        followed.read()
    assert list(followed.phases["rgb"].steps["loss"])[1:] == [2.0]
    assert list(followed.phases["rgb"].epochs["epoch"]) == [0]
    assert followed.problem is None


def test_a_log_that_was_replaced_is_read_from_its_start(run):
    with events.EventLog(run.events) as log:
        log.write(started("rgb"))
        log.write(step_event("rgb", 5))
    followed = History(run)
    followed.read()
    run.events.unlink()
    with events.EventLog(run.events) as log:
        log.write(started("flow"))
    followed.read()
    assert list(followed.phases) == ["flow"]


def test_attempts_replace_each_other_as_in_drop_superseded(run):
    draw = random.Random(3)
    for case in range(20):
        path = run.path / f"{case}"
        with events.EventLog(path / "events.jsonl") as log:
            for position, phase in enumerate(("rgb", "cycle")):
                log.write(started(phase, position))
                step = 0
                while step < 24:
                    log.write(step_event(phase, step))
                    if step % 4 == 3:
                        log.write(epoch_event(phase, step // 4))
                    step += 1
                    if draw.random() < 0.08:
                        back = draw.randrange(step + 1)
                        if draw.random() < 0.7:
                            log.write(events.Resumed(attempt=1, phase=phase, from_step=back))
                        else:
                            back = 0
                        step = back
                log.write(events.PhaseFinished(phase=phase, seconds_s=1, weights_sha256=""))
        followed = History(RunDir(path))
        followed.read()
        true, _ = read_events(path / "events.jsonl")
        for phase in ("rgb", "cycle"):
            for kind, rows in (
                (events.Step, followed.phases[phase].steps),
                (events.Epoch, followed.phases[phase].epochs),
            ):
                expected = [(e.step, e.t_s) for e in true if isinstance(e, kind) and e.phase == phase]
                assert list(zip(rows["step"], rows["t_s"], strict=True)) == expected, case


def test_going_back_to_an_earlier_phase_voids_the_later_one(run):
    with events.EventLog(run.events) as log:
        log.write(started("rgb", 0))
        log.write(step_event("rgb", 0))
        log.write(events.PhaseFinished(phase="rgb", seconds_s=1, weights_sha256=""))
        log.write(started("cycle", 1))
        log.write(step_event("cycle", 0))
        log.write(events.Resumed(attempt=1, phase="rgb", from_step=0))
    followed = History(run)
    followed.read()
    assert list(followed.phases) == ["rgb"]
    assert len(followed.phases["rgb"].steps) == 0
    assert followed.phases["rgb"].finished is None


def test_a_long_phase_is_thinned_evenly_and_the_next_begins_whole(run, monkeypatch):
    monkeypatch.setattr(history, "MOST", 100)
    monkeypatch.setattr(history, "_CHUNK", 4096)
    with events.EventLog(run.events) as log:
        log.write(started("rgb", 0))
        for step in range(3000):
            log.write(step_event("rgb", step))
        log.write(started("cycle", 1))
        for step in range(60):
            log.write(step_event("cycle", step))
    followed = History(run)
    followed.read()
    steps = list(followed.phases["rgb"].steps["step"])
    gaps = [b - a for a, b in pairwise(steps)]
    assert 40 <= len(steps) <= 100
    assert steps[-1] >= 2900
    assert max(gaps) <= 2 * followed.phases["rgb"].every
    assert len(followed.phases["cycle"].steps) >= 40
    assert followed.phases["cycle"].every == 1


def test_a_budget_ends_a_round_and_the_next_goes_on(run, monkeypatch):
    monkeypatch.setattr(history, "_CHUNK", 2048)
    with events.EventLog(run.events) as log:
        log.write(started("rgb"))
        for step in range(100):
            log.write(step_event("rgb", step))
    followed = History(run)
    assert followed.read(budget_s=0) is True
    assert 0 < len(followed.phases["rgb"].steps) < 100
    while followed.read(budget_s=0):
        pass
    assert len(followed.phases["rgb"].steps) == 100


def test_damage_is_told(run):
    with events.EventLog(run.events) as log:
        log.write(started("rgb"))
    with run.events.open("ab") as file:
        file.write(b"nonsense\n")
    followed = History(run)
    followed.read()
    assert "1 damaged lines" in followed.problem
    assert "line 3" in followed.problem
