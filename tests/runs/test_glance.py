"""A run in a list: what both ends of its log tell, and what a broken one says of itself."""

from __future__ import annotations

import io
import json
import os
import time

import pytest
from attrs import evolve
from rich.console import Console
from sample_runs import epoch_event, step_event, write_run

from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.runs.glance import UNREAD, Listing, glance
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import RankState
from cprspec.runs.status import detail_lines, detail_record, print_statuses, status_record
from cprspec.runs.summary import read_status, summarise


def test_a_finished_run(make_run):
    found = glance(make_run(recall=0.5))
    assert (found.status.state, found.place, found.phases) == ("finished", 1, ("rgb", "cycle"))
    assert (found.step.step, found.losses, found.left_s) == (7, (1.5,) * 8, None)
    assert found.recall_1 == 0.5
    assert found.problems == ()


def test_the_last_mined_epoch_counts_also_when_later_ones_mined_nothing(make_run):
    run = make_run()
    with events.EventLog(run.events) as log:
        log.write(evolve(epoch_event("cycle", 1), cmr_source_median=0.75, precision=0.5))
        log.write(epoch_event("cycle", 2))
    assert (glance(run).median_cmr, glance(run).precision) == (0.75, 0.5)


def test_time_left_is_of_the_last_attempt_and_never_negative(make_run):
    run = make_run(state="running")
    with events.EventLog(run.events) as log:
        phase = events.PhaseStarted(
            phase="cycle", position=1, of=2, views=("rgb",), miner=None, epochs=25, steps_per_epoch=4, reused_from=None
        )
        log.write(phase)
        for step in (30, 31, 10, 11, 12):
            log.write(step_event("cycle", step))
    lines = run.events.read_text().splitlines(keepends=True)
    # Even where the clock of the run went back, nothing is negative.
    run.events.write_text("".join(lines))
    found = glance(run)
    assert [found.step.step, len(found.losses)] == [12, 3]
    assert found.left_s >= 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: run.status.write_text("{"), "not a JSON object"),
        (lambda run: run.events.write_bytes(b"\x00" * 5000), "holds no event"),
        (lambda run: (run.events.unlink(), os.mkfifo(run.events)), "not a file"),
        (lambda run: (run.status.unlink(), run.events.unlink(), os.utime(run.path, (0, 0))), "nothing in it yet"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason(make_run, damage, reason):
    make_run("good")
    run = make_run("bad")
    damage(run)
    by_name = {found.run.experiment_name: found for found in Listing(run.path.parent.parent).look()}
    assert by_name["good"].problems == ()
    assert reason in by_name["bad"].why


def test_a_listing_is_newest_first_and_looks_again_only_at_what_changed(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        run = write_run(tmp_path, name)
        run.path.rename(run.path.with_name(f"20260101-00000{ord(name) - 96}-0000"))
    listing = Listing(tmp_path)
    first = listing.look()
    assert [found.run.experiment_name for found in first] == ["c", "b", "a"]
    with events.EventLog(first[0].run.events) as log:
        log.write(step_event("cycle", 8, loss=0.25))
    again = listing.look()
    assert again[0].step.loss == 0.25
    assert again[1] is first[1]
    assert again[2] is first[2]


def test_a_run_falls_silent_without_any_file_changing(make_run):
    run = make_run(state="running", age_s=29.0)
    listing = Listing(run.path.parent.parent)
    (before,) = listing.look()
    now = time.time()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cprspec.runs.summary.time.time", lambda: now + 60)
        (after,) = listing.look()
        patched.setattr("cprspec.runs.summary.time.time", lambda: now - 86400)
        (set_back,) = listing.look()
    assert (before.status.state, after.status.state, set_back.status.state) == ("running", "stale", "running")
    assert after.left_s is None


def test_a_listing_sees_a_run_start_and_its_writer_die(make_run, nobody):
    run = make_run(state="stopped")
    os.utime(run.status, (0, 0))
    listing = Listing(run.path.parent.parent)
    states = [listing.look()[0].status.state]
    with run.lock():
        states.append(listing.look()[0].status.state)
        stamp = run.writer.stat()
        run.writer.write_text(run.writer.read_text().replace(str(os.getpid()), str(nobody["pid"])))
        os.utime(run.writer, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    states.append(listing.look()[0].status.state)
    assert states == ["stopped", "starting", "stopped"]


def test_a_listing_without_time_names_what_it_has_not_read(make_run):
    run = make_run()
    listing = Listing(run.path.parent.parent)
    assert [found.status.state for found in listing.look(budget_s=0)] == [UNREAD]
    assert [found.status.state for found in listing.look()] == ["finished"]
    assert [found.status.state for found in listing.look(budget_s=0)] == ["finished"]


def test_a_long_log_is_looked_at_from_both_ends(make_run, monkeypatch):
    run = make_run(mined=False)
    monkeypatch.setattr("cprspec.runs.glance._SEARCHED", 4096)
    monkeypatch.setattr("cprspec.runs.glance._HEAD", 1024)
    with events.EventLog(run.events) as log:
        for step in range(8, 300):
            log.write(step_event("cycle", step))
    found = glance(run)
    assert found.phases == ("rgb", "cycle")
    assert (found.step.step, found.phase) == (299, None)
    assert len(found.losses) <= 24


def test_status_in_words_and_as_json(make_run):
    run = make_run(state="failed", why="\x1b[31mno disk", age_s=100)
    record = detail_record(glance(run), summarise(run), [])
    assert (record["state"], record["why"]) == ("failed", "\x1b[31mno disk")
    assert [phase["name"] for phase in record["phases"]] == ["rgb", "cycle"]
    lines = detail_lines(record)
    assert "\x1b" not in "".join(lines)
    assert "last heard of 1 min 40 s ago" in lines[0]
    assert set(status_record(glance(run))) <= set(record)


def test_what_a_run_does_beside_training_is_said(make_run):
    run = make_run(state="running")
    pid = read_status(run, []).pid

    def rank(stage, **fields):
        state = RankState(rank=0, pid=pid, host="h", stage=stage, heartbeat=time.time(), **fields)
        atomic_write_json(run.rank(0), state.to_json())

    def now():
        found = glance(run).doing
        return found and (found.word, found.words, found.since_s)

    assert now() is None
    rank("start", stage_s=3.0)
    assert now() == ("starting", "starting", 3.0)
    rank("wait", stage_s=0.2, file="a.mp4")
    assert now() is None
    rank("wait", stage_s=12.0, file="a.mp4")
    assert now() == ("waiting", "waiting for clips: a.mp4", 12.0)
    rank("step", stage_s=0.1, peers=True, peers_s=40.0)
    assert now() == ("waiting", "waiting for the other ranks", 40.0)
    rank("save", stage_s=9.0)
    assert now() == ("saving", "saving", 9.0)
    with events.EventLog(run.events) as log:
        log.write(events.EvaluationStarted(name="nn"))
        log.write(events.Warned(message="careful"))
    rank("evaluate", stage_s=2.0)
    assert now() == ("evaluating", "evaluating nn", 2.0)
    assert glance(run).left_s is None
    with events.EventLog(run.events) as log:
        log.write(events.Evaluating(name="act", encoder="rgb", dataset="x", epoch=2, of=4, loss=1.0))
    assert now() == ("evaluating", "evaluating act, rgb: 3 of 4 epochs", 2.0)
    assert detail_record(glance(run), summarise(run), [])["evaluating"]["epoch"] == 2
    run.stop_requested.touch()
    assert now() == ("stopping", "asked to stop: it finishes what it is at, saves and ends", None)
    run.stop_requested.unlink()
    with events.EventLog(run.events) as log:
        log.write(events.Evaluated(name="act", records=1, seconds_s=1.0))
    rank("step")
    assert now() is None
    rank("evaluate", stage_s=7.0)
    rewritten = json.loads(run.rank(0).read_text()) | {"pid": pid + 1}  # of the attempt before
    run.rank(0).write_text(json.dumps(rewritten))
    assert now() is None


def test_a_run_that_was_made_and_has_not_spoken_is_starting(tmp_path):
    run = RunDir.create(tmp_path, "x")
    run.resolved.write_text('name = "x"')
    assert (glance(run).status.state, glance(run).why) == ("starting", None)
    os.utime(run.path, (0, 0))
    assert (glance(run).status.state, glance(run).why) == ("unknown", "nothing in it yet")


def test_columns_that_say_nothing_leave_room_for_others(make_run):
    run = make_run("quickstart-infonce", recall=0.5)
    console = Console(width=90, file=io.StringIO())
    print_statuses([glance(run)], console)
    head = console.file.getvalue().splitlines()[0].split()
    assert head == ["run", "state", "phase", "epoch", "loss", "R@1"]


def test_a_finished_phase_has_done_all_its_epochs(make_run):
    run = make_run(state="running")
    assert (glance(run).status.epoch, glance(run).epochs_done, glance(run).left_s) == (1, 2, None)
    with events.EventLog(run.events) as log:
        log.write(events.Resumed(attempt=1, phase="cycle", from_step=6))
        log.write(step_event("cycle", 6))
    assert glance(run).epochs_done == 1


def test_runs_of_a_folder_that_is_gone(tmp_path):
    assert Listing(tmp_path / "none").look() == []
    assert glance(RunDir(tmp_path / "x" / "y")).status.state == "unknown"
