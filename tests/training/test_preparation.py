"""Preparing videos is part of a run: it is seen and stopped like one, before any rank starts."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from attrs import evolve
from small_run import SPEC

from cprspec.errors import CprspecError
from cprspec.runs.glance import glance
from cprspec.runs.layout import RunDir
from cprspec.runs.status import detail_lines, detail_record, status_record
from cprspec.runs.stop import request_stop
from cprspec.runs.summary import read_status, summarise
from cprspec.training import launch, preparation
from cprspec.training.nodes import Nodes
from cprspec.training.preparation import preparing
from cprspec.training.request import Request, begin_run, read_requests
from cprspec.training.signals import Stopped, StopRequest


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "HEARTBEAT_S", 0.01)
    return RunDir.create(tmp_path / "runs", "x")


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_run_says_how_far_it_is_and_then_what_it_said_before(run):
    with preparing(run) as tell:
        wait_until(lambda: read_status(run, []).preparing == (0, None))
        tell(94, 512)
        wait_until(lambda: read_status(run, []).preparing == (94, 512))
        seen = glance(run)
        record = detail_record(seen, summarise(run), [])
        assert (record["state"], record["preparing"]) == ("running", {"done": 94, "of": 512})
        assert status_record(seen)["preparing"] == record["preparing"]
        assert "preparing videos: 94/512" in detail_lines(record)
    assert not run.status.exists()
    run.status.write_text('{"attempt": 2, "state": "stopped", "kind": "status"}')
    with preparing(run):
        wait_until(lambda: read_status(run, []).state == "running")
        assert json.loads(run.status.read_text())["attempt"] == 2
    assert json.loads(run.status.read_text()) == {"attempt": 2, "state": "stopped", "kind": "status"}


def test_stop_is_heard_and_meant_for_this_attempt_alone(run):
    with pytest.raises(Stopped) as stopped, preparing(run):
        wait_until(lambda: read_status(run, []).state == "running")
        request_stop(run)
        time.sleep(30)  # the main thread waits, as it does for processes that decode
    assert stopped.value.number == signal.SIGTERM
    assert (read_status(run, []).state, read_status(run, []).why) == ("stopped", "by SIGTERM")
    assert not run.stop_requested.exists()


def test_a_failure_is_told_and_handlers_are_what_they_were(run):
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(CprspecError), preparing(run):
        assert signal.getsignal(signal.SIGUSR1) != before
        raise CprspecError("a.mp4: truncated", exit_code=1)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert (read_status(run, []).state, read_status(run, []).why) == ("failed", "a.mp4: truncated")


def test_a_signal_while_a_machine_prepares_that_does_not_write_the_run():
    with pytest.raises(Stopped) as stopped, preparing(None) as tell:
        tell(1, 2)
        signal.raise_signal(signal.SIGUSR1)
    assert stopped.value.number == signal.SIGTERM


@pytest.fixture
def request_(tmp_path):
    (tmp_path / "small.toml").write_text(SPEC)
    (found,) = read_requests([str(tmp_path / "small.toml")], Request(spec=Path(), runs=tmp_path / "runs"))
    return found


@pytest.mark.parametrize("moment", ["fill_store", "short_videos", "work"])
def test_a_run_that_is_stopped_before_its_ranks_listen_can_be_gone_on_with(
    request, request_, tmp_path, cache, monkeypatch, capsys, moment
):
    monkeypatch.setenv("CPRSPEC_CACHE", str(cache))
    monkeypatch.setattr(launch, "fill_store", lambda *_: None)
    monkeypatch.setattr(launch, moment, lambda *_: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a process begins, whatever other tests did
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    assert launch.launch_all([request_], Nodes()) == (130, [])
    (run,) = (tmp_path / "runs").glob("*/*")
    assert capsys.readouterr().err.endswith(f"stopped; go on with: cprspec run {run}\n")
    assert (run / "resolved.toml").exists()
    assert read_status(RunDir(run), []).state == ("starting" if moment == "work" else "stopped")


def test_another_machine_prepares_while_the_first_has_the_run(request_, cache, monkeypatch):
    monkeypatch.setenv("CPRSPEC_CACHE", str(cache))
    run = RunDir(begin_run(request_, request_.resolve()).run_dir)
    monkeypatch.setattr(launch, "fill_store", lambda *_: None)
    monkeypatch.setattr(launch, "run_ranks", lambda *_: run.path)
    second = Nodes(nnodes=2, node_rank=1, rdzv_endpoint="127.0.0.1:29500")
    again = evolve(request_, spec=run.resolved, run_dir=run.path)
    with run.lock():
        assert launch.launch(again, second) == run.path
        with pytest.raises(CprspecError, match="is being written"):
            launch.launch(again, evolve(second, node_rank=0))


def test_a_folder_of_runs_that_cannot_be_written_is_told_before_videos_are_prepared(request_, cache, monkeypatch):
    monkeypatch.setenv("CPRSPEC_CACHE", str(cache))
    request_.runs.write_text("a file")
    monkeypatch.setattr(launch, "fill_store", lambda *_: pytest.fail("prepared"))
    monkeypatch.setattr(launch, "check_place", lambda *_: None)
    with pytest.raises(CprspecError, match="cannot write"):
        launch.launch(request_, Nodes())


def test_what_listened_for_a_run_does_not_swallow_what_ends_the_next(request_, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(launch, "launch", lambda *_: StopRequest().install())
    launch.launch_all([request_], Nodes())
    assert signal.getsignal(signal.SIGINT) == before
