"""Whom the launcher ends, whom it does not, and whom it names: ranks that say what they are made to say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import END, EVALUATE, SAVE, START, STEP, WAIT, RankState
from cprspec.training import watch as watching
from cprspec.training.watch import Watch, Watched

LIMIT_S = 120.0


def said(stage=STEP, stage_s=1.0, peers_s=0.0, **more):
    """What a rank says."""
    return {"stage": stage, "stage_s": stage_s, "peers": peers_s > 0, "peers_s": peers_s, **more}


@pytest.fixture
def watch_of(monkeypatch):
    """A watch over ranks that say this; `silent_s`: for how long each has said the same. Nobody is really killed."""

    def make(*states, silent_s=()):
        watch = Watch(lambda: None, 0, len(states), LIMIT_S)
        now = time.monotonic()
        for rank, facts in enumerate(states):
            state = RankState(rank=rank, pid=rank + 1, host="h", phase="rgb", step=5, **facts)
            age = silent_s[rank] if silent_s else 0.0
            watch._ranks.append(Watched(SimpleNamespace(pid=None, exitcode=None), rank, state=state, changed=now - age))
        watch.killed = []

        def kill(ranks):
            watch.killed += [w.rank for w in ranks]
            for watched in ranks:
                watched.by_us = True

        monkeypatch.setattr(watch, "_kill", kill)
        return watch

    return make


def test_a_rank_is_stuck_when_another_has_waited_for_it_all_the_time(watch_of):
    watch = watch_of(said(stage_s=130, peers_s=121), said(stage_s=131))
    watch._find_hung()
    assert watch.killed == [1]
    assert watch.verdict().message == "rank 1 has not finished step 5 of phase 'rgb' for 120 s"


def test_a_slow_step_is_no_hang(watch_of):
    """One has computed for 110 s and waited for 12, the other one is still at work."""
    watch = watch_of(said(stage_s=122, peers_s=12), said(stage_s=122))
    watch._find_hung()
    assert watch.killed == []


def test_a_rank_that_another_machine_waits_for_is_ended_here(watch_of, tmp_path):
    """Its file may be of an earlier attempt, in which somebody waited: it counts once it has been written anew."""
    watch = watch_of(said(stage_s=131))
    watch._run = RunDir(tmp_path)
    for heartbeat, killed in ((1.0, []), (1.0, []), (2.0, [0])):
        other = RankState(rank=1, pid=9, host="beta", heartbeat=heartbeat, **said(peers_s=121))
        atomic_write_json(watch._run.rank(1), other.to_json())
        watch._look()
        watch._find_hung()
        assert watch.killed == killed


@pytest.mark.parametrize(("own_s", "their_s", "lost"), [(121, 121, True), (121, 0, False), (0, 121, False)])
def test_machines_that_all_wait_have_lost_each_other(watch_of, tmp_path, own_s, their_s, lost):
    """The network is cut, and the disk is not: both show life, in a wait that may take an hour."""
    watch = watch_of(said(SAVE, peers_s=own_s))
    watch._run = RunDir(tmp_path)
    for heartbeat in (1.0, 2.0):
        assert not watch._lost
        other = RankState(rank=1, pid=9, host="beta", heartbeat=heartbeat, **said(SAVE, peers_s=their_s))
        atomic_write_json(watch._run.rank(1), other.to_json())
        watch._look()
        watch._find_hung()
        watch._find_lost()
    assert (watch._lost, watch.killed) == (lost, [0] if lost else [])


def test_what_rank_0_writes_may_take_longer(watch_of):
    watch = watch_of(said(SAVE, stage_s=500), said(SAVE, stage_s=500, peers_s=499))
    watch._find_hung()
    assert watch.killed == []


@pytest.mark.parametrize("stage", [START, WAIT, STEP, SAVE, EVALUATE])
def test_who_shows_no_life_is_ended_in_every_stage(watch_of, stage):
    watch = watch_of(said(stage, peers_s=3.0), said(stage), silent_s=(0, LIMIT_S + 1))
    watch._find_hung()
    assert watch.killed == [1]
    assert watch.verdict().message.startswith("rank 1 has not ")


def test_who_leaves_or_has_not_begun_shows_no_life(watch_of):
    watch = watch_of(said(END), said(), silent_s=(3600, 0))
    watch._ranks.append(Watched(SimpleNamespace(pid=None, exitcode=None), 2, changed=time.monotonic() - 3600))
    watch._find_hung()
    assert watch.killed == []


def test_a_run_that_was_removed_is_what_is_told(watch_of, tmp_path):
    watch = watch_of(said(EVALUATE), silent_s=(LIMIT_S + 1,))
    watch._run = RunDir(tmp_path / "gone")
    watch._find_hung()
    assert watch.verdict().message == f"{tmp_path / 'gone'}: the run is gone"


def test_nccl_aborts_who_waits_and_the_other_one_is_named(watch_of):
    watch = watch_of(said(peers_s=130, gpu_gib=1.0), said(gpu_gib=1.0, stage_s=130), said(peers_s=130, gpu_gib=1.0))
    first, second, third = watch._ranks
    first.code = -signal.SIGABRT
    watch._dead.append(first)
    third.by_us = second.by_us = True
    assert watch.verdict().message == "rank 1 has not finished step 5 of phase 'rgb' for 120 s"
    second.state = RankState(rank=1, pid=2, host="h", phase="rgb", step=5, stage=STEP, gpu_gib=1.0, peers=True)
    assert watch.verdict().message.startswith("rank 0 was killed by SIGABRT"), "all wait: it is news by itself"


def test_an_abort_without_a_gpu_is_the_ranks_own(watch_of):
    watch = watch_of(said(peers_s=130), said(stage_s=130))
    watch._ranks[0].code = -signal.SIGABRT
    watch._dead.append(watch._ranks[0])
    assert watch.verdict().message.startswith("rank 0 was killed by SIGABRT")


def test_who_is_gone_already_is_no_trouble(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = SimpleNamespace(pid=child.pid, exitcode=None)
    monkeypatch.setattr(watching, "_exit_code", lambda process: None)
    watch = Watch(lambda: None, 0, 1, LIMIT_S)
    watch._ranks = [Watched(gone, 0, state=RankState(rank=0, pid=child.pid, host="h", stage=STEP))]
    watch.number = signal.SIGTERM
    watch._pass_on()
    watch._kill(watch._ranks)


def test_a_file_system_that_is_away_for_a_moment(monkeypatch):
    """Looking fails; who ended is seen all the same."""
    monkeypatch.setattr(watching, "POLL_S", 0.01)

    def away():
        raise OSError(116, "Stale file handle")

    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as child:
        watch = Watch(away, 0, 1, LIMIT_S)
        watch._ranks = [Watched(SimpleNamespace(pid=child.pid, exitcode=None), 0)]
        with watch:
            deadline = time.monotonic() + 30
            while not watch._dead and time.monotonic() < deadline:
                time.sleep(0.01)
            assert [w.code for w in watch._dead] == [3]


def test_a_system_without_waitid(monkeypatch):
    monkeypatch.delattr(os, "waitid")
    assert watching._exit_code(SimpleNamespace(pid=1, exitcode=None)) is None
    assert watching._exit_code(SimpleNamespace(pid=1, exitcode=-9)) == -9
