"""`watch`, `status` and `stop`: a run as plain lines, as a table, and asked to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sample_runs import step_event

from cprspec.errors import CprspecError
from cprspec.runs import events
from cprspec.runs.events import Event
from cprspec.runs.files import atomic_write_json
from cprspec.runs.ranks import read_ranks
from cprspec.runs.stop import request_stop
from cprspec.runs.watch import Caught, Preparing, Silence, short_age, watch

PROJECT = Path(__file__).parent.parent.parent


def command(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cprspec", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def set_status(run, **changes):
    atomic_write_json(run.status, json.loads(run.status.read_text()) | {"heartbeat": time.time()} | changes)


def test_preparing_is_told(make_run):
    run = make_run(state="running")
    set_status(run, preparing={"done": 94, "of": 512})
    news = list(watch(run, lambda _: set_status(run, state="finished", preparing=None)))
    assert [(item.done, item.of) for item in news if isinstance(item, Preparing)] == [(94, 512)]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_leaves_columns_out_instead_of_cutting_them(make_run, width):
    make_run("quickstart-infonce", state="running")
    table = command("status", cwd=make_run("x", state="stopped").path.parent.parent.parent, COLUMNS=str(width)).stdout
    assert "…" not in table and "quickstart-infonce/" in table and max(map(len, table.splitlines())) <= width


def test_in_a_pipe_nothing_of_the_table_is_cut(make_run):
    name = "a-name-of-an-experiment-that-is-very-long-and-says-all-that-is-in-it"
    run = make_run(name, state="running")
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-m", "cprspec", "status"],
        cwd=run.path.parents[2], env=environment | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.label in done.stdout and "clips/s" in done.stdout


def test_it_gives_the_past_then_news_and_ends_with_the_run(make_run):
    run = make_run(state="running")
    beats = []

    def sleep(_seconds):
        beats.append(1)
        with events.EventLog(run.events) as log:
            log.write(step_event("cycle", 100 + len(beats)))
            if len(beats) == 3:
                log.write(events.RunFinished(seconds_s=1.0))
                set_status(run, state="finished")

    news = list(watch(run, sleep))
    at = next(i for i, item in enumerate(news) if isinstance(item, Caught))
    assert isinstance(news[0], events.RunStarted)
    assert [e.step for e in news[at:] if isinstance(e, events.Step)] == [101, 102, 103]
    assert isinstance(news[-1], events.RunFinished)


def test_silence_is_said_once_each_time(make_run):
    run = make_run(state="running", age_s=50)
    beats = []

    def sleep(_seconds):
        beats.append(1)
        if len(beats) == 3:
            set_status(run)
        if len(beats) == 5:
            set_status(run, heartbeat=time.time() - 40)
        if len(beats) == 8:
            set_status(run, state="finished")

    silences = [item for item in watch(run, sleep) if isinstance(item, Silence)]
    assert [round(item.age_s) for item in silences] == [50, 40]


def test_a_run_whose_process_is_dead_is_no_longer_watched_nor_stopped(make_run, nobody, tmp_path):
    run = make_run(state="running")
    set_status(run, **nobody)
    stopped = command("stop", "toy", cwd=tmp_path)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert f"nobody is writing run {run.label}: its process {nobody['pid']} is dead" in stopped.stderr
    assert not run.stop_requested.exists()
    set_status(run, heartbeat=time.time() - 40)
    watched = command("watch", "toy", "-n", "1", cwd=tmp_path)
    assert (watched.returncode, watched.stdout) == (1, "run finished in 2 s\n")
    said, way_on = watched.stderr.splitlines()
    assert said.startswith("silent for 4")
    assert said.endswith(f"s: the run was killed; its process {nobody['pid']} is dead")
    assert way_on == f"go on with: cprspec run {run.path.relative_to(tmp_path)}"


def test_a_starting_run_is_watched_on_and_hears_no_request(make_run):
    run = make_run(state="stopped")
    os.utime(run.status, (0, 0))
    beats = []

    def sleep(_seconds):
        beats.append(1)
        set_status(run, state="finished")

    with run.lock():
        with pytest.raises(CprspecError, match="is starting and hears nothing yet"):
            request_stop(run)
        assert not any(isinstance(item, Silence) for item in watch(run, sleep))
    assert beats == [1]


def test_watching_writes_nothing(make_run):
    run = make_run()
    before = sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*"))
    assert all(isinstance(item, Event | Caught) for item in watch(run))
    assert before == sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*"))


def test_the_commands(make_run, tmp_path):
    make_run("cpr")
    run = make_run("bad", state="failed", why="out of \x1b[31mdisk")
    watched = command("watch", "cpr", "-n", "3", cwd=tmp_path)
    assert (watched.returncode, watched.stderr) == (0, "")
    assert watched.stdout.splitlines()[-1] == "run finished in 2 s"
    assert len(watched.stdout.splitlines()) == 3
    as_json = command("watch", "bad", "--all", "--json", cwd=tmp_path)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout.splitlines()[0])["kind"] == "run-started"
    listed = command("status", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "\x1b" not in listed.stdout
    assert f"{run.label}: out of \\x1b[31mdisk" in listed.stdout
    record = json.loads(command("status", "bad", "--json", cwd=tmp_path).stdout)
    assert (record["kind"], record["state"], record["run"]) == ("run-status", "failed", run.label)
    stopped = command("stop", "cpr", cwd=tmp_path)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr.endswith("is finished; there is nothing to stop\n")


@pytest.mark.parametrize("arguments", [["status"], ["tui"]])
def test_a_folder_that_is_not_there(tmp_path, arguments):
    done = command(*arguments, "--runs", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_the_monitor_refuses_without_a_terminal(tmp_path):
    done = command("tui", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("the monitor needs a terminal, and this is none; cprspec watch RUN prints")


def test_stop_leaves_its_request_with_a_run_that_runs_and_no_other(make_run):
    run = make_run(state="running")
    request_stop(run)
    assert run.stop_requested.exists()
    for options in ({"state": "stopped"}, {"state": "running", "age_s": 100.0}, {"state": "finished"}):
        other = make_run("other", **options)
        with pytest.raises(CprspecError):
            request_stop(other)
        assert not other.stop_requested.exists()


def test_ranks_tolerate_damage(make_run):
    run = make_run()
    assert read_ranks(run, []) == []
    now = time.time()
    atomic_write_json(
        run.rank(0), {"schema": 2, "kind": "rank", "rank": 0, "stage": "wait", "heartbeat": now - 3, "new": 1}
    )
    atomic_write_json(run.rank(10), {"kind": "rank", "rss_gib": "much", "step": 2.5, "cpu_cores": 1.5})
    run.rank(2).write_text("{")
    problems = []
    first, last = read_ranks(run, problems)
    assert (first.rank, first.stage, round(first.heartbeat_age_s)) == (0, "wait", 3)
    assert (last.rank, last.rss_gib, last.step, last.cpu_cores) == (10, None, None, 1.5)
    assert len(problems) == 1


def test_ages():
    assert [short_age(s) for s in (-3, 40, 130, 7300, 200000)] == ["0 s", "40 s", "2 min", "2 h", "2 d"]
