"""The event log: written whole, repaired when torn, read when damaged, true after a resume."""

from __future__ import annotations

import json
import os
import resource
import signal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_runs import epoch_event, log_phases, step_event

from cprspec.errors import CprspecError
from cprspec.runs import events
from cprspec.runs.events import EVENTS, EventLog
from cprspec.runs.tail import MAX_LINE, READ_BUDGET, LogTail, drop_superseded, read_events


@pytest.fixture
def log_path(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log_phases(log)
    return path


def all_kinds():
    return [
        events.RunStarted(name="n", seed=1, phases=("a", "b"), world_size=2, version="0.1"),
        events.Resumed(attempt=1, phase="a", from_step=3),
        events.PhaseStarted(
            phase="a", position=0, of=1, views=("rgb",), miner=None, epochs=1, steps_per_epoch=2, reused_from="x/y"
        ),
        step_event("a", 0),
        epoch_event("a", 0),
        events.PhaseFinished(phase="a", seconds_s=1.5, weights_sha256="ab"),
        events.Evaluating(name="nn", encoder="a+b", dataset="d", epoch=0, of=5, loss=None),
        events.EvaluationStarted(name="nn"),
        events.Evaluated(name="nn", records=3, seconds_s=0.1),
        events.Warned(message="caf\u00e9 \U0001f600 \u2028 \x1b[2J"),
        events.RunFinished(seconds_s=3),
        events.RunFailed(message="no"),
        events.Stopped(signal="SIGTERM", step=4),
        events.Stopped(signal="SIGTERM", step=None),
    ]


def test_every_kind_comes_back_as_it_was(tmp_path):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        written = [log.write(event) for event in all_kinds()]
    assert {type(event) for event in written} == set(EVENTS)
    tail = LogTail(path)
    assert tail.poll() == written
    assert tail.damage.count == tail.damage.unknown == 0
    header = json.loads(path.read_text().splitlines()[0])
    assert (header["schema"], header["kind"]) == (1, "events")
    times = [event.t_s for event in written]
    assert times == sorted(times)
    assert all(event.time > 1e9 for event in written)


def test_numbers_that_are_not_finite_become_null(tmp_path):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        log.write(step_event("a", 0, float("nan")))
        log.write(step_event("a", 1, float("inf")))
    found, damage = read_events(path)
    assert [event.loss for event in found] == [None, None]
    assert damage.count == 0


def test_torn_at_every_byte_reading_and_repair(tmp_path):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        for step in range(3):
            log.write(step_event("a", step))
    whole = path.read_bytes()
    torn = tmp_path / "torn.jsonl"
    for cut in range(len(whole) + 1):
        torn.write_bytes(whole[:cut])
        complete = max(0, whole[:cut].count(b"\n") - 1)
        found, damage = read_events(torn)
        assert (len(found), damage.count) == (complete, 0)
        with EventLog(torn) as log:
            log.write(step_event("a", 9))
        text = torn.read_bytes()
        assert text.startswith(whole[: whole[:cut].rfind(b"\n") + 1])
        found, damage = read_events(torn)
        assert [event.step for event in found] == [*range(complete), 9]
        assert damage.count == 0


def test_time_of_the_run_goes_on_where_the_last_attempt_ended(tmp_path):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        log._opened -= 1000  # as if the first attempt had lasted
        first = log.write(step_event("a", 0))
    with EventLog(path) as log:
        second = log.write(step_event("a", 1))
    assert first.t_s >= 1000
    assert first.t_s <= second.t_s < first.t_s + 100


def test_a_clock_that_is_set_back_does_not_disturb_durations(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        a = log.write(step_event("a", 0))
        monkeypatch.setattr("cprspec.runs.events.time.time", lambda: 5.0)
        b = log.write(step_event("a", 1))
    assert b.time == 5.0
    assert b.t_s >= a.t_s


def test_full_disk_leaves_a_whole_log_and_says_path_and_bytes(tmp_path):
    path = tmp_path / "e.jsonl"
    log = EventLog(path)
    log.write(step_event("a", 0))
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 40, hard))
        with pytest.raises(CprspecError) as caught:
            log.write(step_event("a", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == whole
    assert "e.jsonl" in str(caught.value)
    assert "bytes are free" in str(caught.value)
    assert caught.value.exit_code == 1
    log.write(step_event("a", 1))
    log.close()
    assert [event.step for event in read_events(path)[0]] == [0, 1]


def test_damage_is_counted_with_line_and_reason_and_the_rest_is_used(tmp_path):
    path = tmp_path / "e.jsonl"
    good = json.dumps({**step_event("a", 0).to_json()}).encode()
    lines = [
        b'{"schema": 9, "kind": "events", "new": 1}',
        good,
        b"\0" * 50,
        b'{"kind": "step"}',
        b"\xff\xfe",
        good.replace(b'"step": 0', b'"step": "zero"'),
        good.replace(b'"loss": 1.0', b'"loss": NaN'),
        good.replace(b'"step": 0', b'"step": true'),
        b'{"kind": "from-the-future", "x": 1}',
        good.replace(b'"step": 0', b'"step": 1, "newer": [1]'),
        b"[" * 100_000,
        b"x" * (MAX_LINE + 5),
        b"[1, 2]",
        b'{"kind": ["step"]}',
        good.replace(b'"step": 0', b'"step": 1' + b"0" * 30),
        b"",
        good.replace(b'"step": 0', b'"step": 2'),
    ]
    path.write_bytes(b"\n".join(lines) + b"\n" + good[:30])
    found, damage = read_events(path)
    assert [event.step for event in found] == [0, 1, 2]
    assert damage.count == 12
    assert damage.unknown == 1
    assert [line for line, _ in damage.lines] == [3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_are_read_without_an_exception(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("log") / "e.jsonl"
    path.write_bytes(b"\n".join(pieces))
    found, _ = read_events(path)
    assert not found
    EventLog(path).close()


def test_kinds_that_are_not_wanted_are_passed_over(log_path):
    everything, _ = read_events(log_path)
    found, damage = read_events(log_path, without=[events.Step])
    assert found == [event for event in everything if not isinstance(event, events.Step)]
    assert (damage.count, damage.unknown) == (0, 0)


def test_logs_from_before_a_field_are_read_with_its_default(tmp_path):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        for event in all_kinds():
            log.write(event)
    every = {"time", "t_s"}  # which every log has
    later = {
        kind.kind: {field.name for field in attrs.fields(kind) if field.default is not attrs.NOTHING} - every
        for kind in EVENTS
    }
    assert later["epoch"] == {"replaced"} and {"decode_s", "augment_s"} <= later["step"]
    lines = [json.loads(line) for line in path.open()]
    old = [{name: line[name] for name in line if name not in later.get(line["kind"], ())} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    found, damage = read_events(path)
    assert damage.count == 0
    assert {type(event) for event in found} == set(EVENTS)
    assert [event.replaced for event in found if isinstance(event, events.Epoch)] == [0]


def test_a_poll_reads_no_more_than_its_budget_of_a_log_that_is_all_damage(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"no event\n" * 1000)
    tail = LogTail(path)
    assert tail.poll(900) == []
    assert (tail.damage.count, tail.caught_up) == (100, False)


def test_missing_log_is_one_clear_error(tmp_path):
    with pytest.raises(CprspecError, match="none\\.jsonl"):
        read_events(tmp_path / "none.jsonl")


def test_tail_gives_each_event_once_however_the_bytes_arrive(log_path, tmp_path):
    whole = log_path.read_bytes()
    expected, _ = read_events(log_path)
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(b"")
    tail, found = LogTail(growing), []
    for start in range(0, len(whole), 37):
        with growing.open("ab") as file:
            file.write(whole[start : start + 37])
        found += tail.poll(budget=13)
    found += read_to_end(tail, budget=13)
    assert found == expected
    assert tail.damage.count == 0


@pytest.mark.parametrize("budget", [40, READ_BUDGET])
def test_tail_reads_on_rightly_when_a_torn_line_was_repaired_and_written_on_between_two_polls(tmp_path, budget):
    path = tmp_path / "e.jsonl"
    with EventLog(path) as log:
        log.write(step_event("rgb", 0))
    path.write_bytes(path.read_bytes() + b'{"kind": "warning", "time": 1764')
    tail = LogTail(path)
    assert [e.step for e in read_to_end(tail, budget)] == [0]
    with EventLog(path) as log:
        for step in (1, 2):
            log.write(step_event("rgb", step))
    assert [e.step for e in read_to_end(tail, budget)] == [1, 2]
    assert (tail.damage.count, tail.generation) == (0, 0)


def read_to_end(tail, budget):
    found = tail.poll(budget)
    while not tail.caught_up:
        found += tail.poll(budget)
    return found


def test_tail_starts_over_when_the_log_is_replaced_or_shorter(log_path):
    tail = LogTail(log_path)
    first = tail.poll()
    assert (tail.generation, tail.poll()) == (0, [])
    os.truncate(log_path, 500)
    again = tail.poll()
    assert tail.generation == 1
    assert again == first[: len(again)]
    other = log_path.with_name("other")
    with EventLog(other) as log:
        log.write(step_event("new", 5))
        log.write(events.Warned(message="x" * 1000))
    other.replace(log_path)
    assert [type(event) for event in tail.poll()] == [events.Step, events.Warned]
    assert tail.generation == 2
    log_path.unlink()
    assert tail.poll() == []
    assert tail.problem


def names(found):
    return [(type(e).__name__, getattr(e, "phase", ""), getattr(e, "step", None)) for e in found]


def test_resumed_drops_what_it_makes_again_and_nothing_else():
    started = [
        events.PhaseStarted(
            phase=p, position=i, of=2, views=("rgb",), miner=None, epochs=2, steps_per_epoch=4, reused_from=None
        )
        for i, p in enumerate("ab")
    ]
    a = [step_event("a", s) for s in range(8)]
    b = [step_event("b", s) for s in range(6)]
    log = [
        started[0], *a[:4], epoch_event("a", 0), *a[4:7],
        events.Resumed(attempt=1, phase="a", from_step=4), a[4], a[5],
        events.Resumed(attempt=2, phase="a", from_step=4), *a[4:], epoch_event("a", 1),
        events.PhaseFinished(phase="a", seconds_s=1.0, weights_sha256=""), started[1], *b[:6],
        events.Resumed(attempt=3, phase="b", from_step=5), b[5],
    ]  # fmt: skip
    found = drop_superseded(log)
    assert [e.step for e in found if isinstance(e, events.Step) and e.phase == "a"] == list(range(8))
    assert [e.step for e in found if isinstance(e, events.Step) and e.phase == "b"] == list(range(6))
    assert [e.epoch for e in found if isinstance(e, events.Epoch)] == [0, 1]
    assert sum(isinstance(e, events.PhaseFinished) for e in found) == 1
    assert sum(isinstance(e, events.Resumed) for e in found) == 3


def test_going_back_to_an_earlier_phase_voids_the_later_ones():
    started = [
        events.PhaseStarted(
            phase=p, position=i, of=2, views=("rgb",), miner=None, epochs=2, steps_per_epoch=4, reused_from=None
        )
        for i, p in enumerate("ab")
    ]
    log = [
        started[0], step_event("a", 0), step_event("a", 1),
        events.PhaseFinished(phase="a", seconds_s=1.0, weights_sha256=""),
        started[1], step_event("b", 0), epoch_event("b", 0),
        events.Resumed(attempt=1, phase="a", from_step=1),
    ]  # fmt: skip
    assert names(drop_superseded(log)) == [
        ("PhaseStarted", "a", None),
        ("Step", "a", 0),
        ("Resumed", "a", None),
    ]


def test_an_attempt_that_found_no_checkpoint_begins_again_at_step_zero():
    log = [step_event("a", 0, 1.0), step_event("a", 10, 2.0), step_event("a", 0, 3.0), step_event("a", 10, 4.0)]
    assert [(e.step, e.loss) for e in drop_superseded(log)] == [(0, 3.0), (10, 4.0)]
