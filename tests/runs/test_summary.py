"""A run in short, whole or damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from cprspec.runs import events
from cprspec.runs.events import EventLog
from cprspec.runs.files import atomic_write_json, atomic_write_text
from cprspec.runs.layout import RunDir
from cprspec.runs.records import Record, read_record
from cprspec.runs.summary import read_status, summarise


def test_a_finished_run(make_run):
    run = summarise(make_run("toy", seed=3, loss=1.25))
    assert (run.experiment, run.seed, run.status.state, run.problems) == ("toy", 3, "finished", ())
    assert [(p.name, p.position, p.epochs, p.epochs_done, p.finished) for p in run.phases] == [
        ("rgb", 0, 2, 2, True),
        ("cycle", 1, 2, 2, True),
    ]
    assert run.phases[1].loss == 1.25
    assert run.phases[0].table is None
    assert run.phases[1].table["epoch"] == 1
    assert run.phases[1].table["precision"] > 0
    metrics = {(r.metric, r.unit) for r in run.records if r.protocol == "mining"}
    assert ("precision", None) in metrics
    assert ("median_cmr", "source") in metrics
    assert ("median_cmr_random", "video") in metrics
    assert ("perfect_classes", "source") in metrics
    recall = [r for r in run.records if r.metric == "R@1" and r.encoder == "cycle"]
    assert recall == [
        Record(
            metric="R@1", value=0.4, n=40, dataset="toy", split="test", encoder="cycle",
            protocol="retrieval-default", unit="video", seed=3,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "age_s", "shown"),
    [("running", 5, "running"), ("running", 31, "stale"), ("running", -3600, "running"), ("failed", 999, "failed")],
)
def test_state_and_heartbeat(make_run, state, age_s, shown):
    assert summarise(make_run(state=state, age_s=age_s)).status.state == shown


def test_a_run_starts_while_a_living_writer_has_not_said_so(make_run, nobody):
    run = make_run(state="stopped", why="by SIGINT")
    os.utime(run.status, (time.time() - 60,) * 2)
    with run.lock():
        found = read_status(run, [])
        assert (found.state, found.pid, found.why, found.phase) == ("starting", os.getpid(), None, "cycle")
        os.utime(run.status)  # the writer writes it
        assert read_status(run, []).state == "stopped"
    os.utime(run.status, (time.time() - 60,) * 2)
    atomic_write_json(run.writer, {**nobody, "since": time.time()})
    assert read_status(run, []).state == "stopped"


def test_a_run_is_gone_where_its_process_is_dead_here_and_nobody_else_writes(make_run, nobody):
    run = make_run(state="running", age_s=40)
    assert not read_status(run, []).gone  # its host is another one
    status = json.loads(run.status.read_text())
    atomic_write_json(run.status, status | nobody)
    assert (read_status(run, []).state, read_status(run, []).gone) == ("stale", True)
    atomic_write_json(run.status, status | nobody | {"pid": os.getpid()})
    assert not read_status(run, []).gone
    with run.lock():  # its launcher starts it again
        atomic_write_json(run.status, status | nobody)
        assert not read_status(run, []).gone


def test_how_far_an_evaluation_is(make_run):
    run = make_run()
    news = [events.Evaluating(name="act", encoder="rgb", dataset="d", epoch=e, of=9, loss=1.0) for e in range(3)]
    with EventLog(run.events) as log:
        for event in news:
            log.write(event)
        assert summarise(run).evaluating.epoch == 2
        log.write(events.Evaluated(name="act", records=1, seconds_s=1.0))
        assert summarise(run).evaluating is None


def test_an_old_empty_folder_is_a_run_of_unknown_state(tmp_path):
    made = RunDir.create(tmp_path, "x")
    assert summarise(made).status.state == "starting"
    os.utime(made.path, (0, 0))
    run = summarise(made)
    assert (run.status.state, run.experiment, run.phases, run.records, run.problems) == ("unknown", "x", (), (), ())


def test_every_file_damaged_is_named_and_the_rest_used(make_run):
    run = make_run("toy")
    for junk in (b"", b"\0" * 100, b"\xff\xfe{", b"[1, 2]", b'{"kind": "other"}', b"[" * 50_000, b"{"):
        for path in (run.status, run.resolved, run.mining_table("cycle", 1), run.evaluation("nn")):
            kept = path.read_bytes()
            path.write_bytes(junk)
            found = summarise(run)
            if path != run.resolved or junk not in (b"", b"[1, 2]"):
                assert any(path.name in problem for problem in found.problems), (path, junk)
            assert len(found.phases) == 2
            path.write_bytes(kept)
    assert summarise(run).problems == ()


def test_damaged_table_falls_back_to_the_epoch_before(make_run):
    run = make_run("toy")
    run.mining_table("cycle", 1).write_text("{")
    assert summarise(run).phases[1].table["epoch"] == 1  # the builder's earlier table, of file epoch-0000
    assert summarise(run).phases[1].table["precision"] == 0.0


def test_records_of_wrong_types_count_as_unknown():
    assert read_record({"metric": 3}) is None
    assert read_record([1]) is None
    assert read_record({"metric": "R@1", "value": True, "n": 1.5, "split": 1, "encoder": ["x"], "newer": 1}) == Record(
        metric="R@1", value=None, split="1"
    )
    assert read_record({"metric": "R@1", "value": 10**400}).value is None


def test_unreadable_records_are_counted(make_run):
    run = make_run()
    atomic_write_json(run.evaluation("nn"), {"kind": "evaluation", "records": [{"metric": "R@1", "value": 1}, 5, {}]})
    found = summarise(run)
    assert any("2 records cannot be read" in problem for problem in found.problems)


def test_what_makes_two_runs_differ_only_in_seed(make_run):
    base = summarise(make_run("toy", seed=0)).recipe
    assert summarise(make_run("toy", seed=1)).recipe == base
    assert summarise(make_run("toy", seed=0, lr=9)).recipe != base
    assert summarise(make_run("toy2", seed=0)).recipe != base
    assert summarise(make_run("toy", extra='[dataset.d]\nuse = "motion"\nseed = 1')).recipe != base
    one = summarise(make_run("toy", extra='[dataset.d]\nroot = "/a"')).recipe
    assert one == summarise(make_run("toy", extra='[dataset.d]\nroot = "/b"')).recipe


def test_reading_writes_nothing_and_opens_no_fifo(make_run):
    run = make_run()
    os.mkfifo(run.evaluations / "pipe.json")
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    summarise(run)
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_phases_that_have_not_begun_are_listed(tmp_path):
    run = RunDir.create(tmp_path, "x")
    atomic_write_text(run.resolved, 'name = "x"\nseed = 0\n[phase.a]\nepochs = 1\n[phase.b]\nepochs = 1\n')
    assert [(p.name, p.epochs_done, p.finished) for p in summarise(run).phases] == [("a", 0, False), ("b", 0, False)]


def test_readers_never_import_torch():
    code = (
        "import sys, cprspec.runs.compare_tables, cprspec.runs.compare, cprspec.runs.summary, cprspec.runs.layout;"
        "sys.exit(any(m.split('.')[0] in ('torch', 'torchvision', 'numpy') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
