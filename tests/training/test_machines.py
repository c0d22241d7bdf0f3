"""What machines know of each other, where they meet, and signals that reach every process at once."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest
from attrs import evolve

from cprspec.errors import CprspecError, Problem
from cprspec.processes import sheltered
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import END, STEP, RankState
from cprspec.training import machines
from cprspec.training.machines import Machines
from cprspec.training.ports import check_endpoint, interface_towards
from cprspec.training.signals import insists


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "WORD_S", 0.3)
    monkeypatch.setattr(machines, "_POLL_S", 0.01)
    return RunDir(tmp_path)


def states(heartbeat, stage=STEP):
    """Four ranks, two on each machine."""
    return {
        rank: RankState(
            rank=rank,
            pid=7,
            host=("alpha", "be\x1bta")[rank // 2],
            phase="rgb",
            step=5,
            stage=stage,
            heartbeat=heartbeat,
        )
        for rank in range(4)
    }


def seen(run, number=0):
    """Machine `number`, which has seen the ranks of the other one live."""
    own = Machines(number, 2, 2)
    own.look(run, states(1.0))
    own.look(run, states(2.0))
    return own


def test_a_machine_that_says_nothing_was_lost(run):
    problem, code = seen(run).conclude(run, None)
    assert code == 75
    assert problem.message == "machine 1 (be\\x1bta) was lost (rank 2 last seen in phase 'rgb', step 5, computing)"
    assert json.loads(run.machine(0).read_text())["code"] == 75


def test_what_happened_on_another_machine_is_told_by_it(run):
    ours, theirs = seen(run, 0), seen(run, 1)
    assert theirs.conclude(run, Problem("rank 3 was killed by SIGKILL")) is None
    problem, code = ours.conclude(run, None)
    assert (problem.message, code) == ("rank 3 was killed by SIGKILL, on machine 1 (be\\x1bta)", 1)


def test_machines_that_only_lost_each_other(run):
    ours, theirs = seen(run, 0), seen(run, 1)
    theirs.conclude(run, None)
    problem, code = ours.conclude(run, None)
    assert code == 75 and problem.message.startswith("machine 1 (be\\x1bta) did not answer (rank 2 last seen")


def test_the_last_word_of_an_earlier_attempt_is_none(run):
    seen(run, 1).conclude(run, Problem("long ago"))
    problem, code = seen(run, 0).conclude(run, None)
    assert code == 75 and "was lost" in problem.message


def test_damaged_words_are_none(run):
    ours = seen(run)
    run.machine(1).parent.mkdir()
    for content in ("{", "[]", '{"kind": "other", "code": 1}'):
        run.machine(1).write_text(content)
        assert "was lost" in ours.conclude(run, None)[0].message


def test_silence_counts_only_of_ranks_that_lived_and_did_not_leave(run):
    own = Machines(0, 2, 2)
    own.look(run, states(1.0))
    assert not own.silent(-1), "files of an earlier attempt"
    own.look(run, states(2.0))
    assert own.silent(-1) and not own.silent(60)
    own.look(run, {rank: evolve(state, heartbeat=3.0) for rank, state in states(2.0, END).items()})
    assert not own.silent(-1)


def test_one_machine_has_nobody_to_tell(run):
    own = Machines()
    own.look(run, states(1.0))
    assert own.conclude(run, None) is None and not own.silent(-1) and not run.machine(0).exists()


@pytest.mark.parametrize("endpoint", ["", "host", "host:", ":29400", "host:0", "host:65536", "host:port", "\x1b:x"])
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises(
        CprspecError, match=r"--rdzv-endpoint: .* is not HOST:PORT; the first machine's address"
    ) as caught:
        check_endpoint(endpoint, first=False)
    assert "\x1b" not in str(caught.value)


def test_a_host_that_nobody_knows_is_refused():
    with pytest.raises(CprspecError, match=r"this machine does not know the host 'nobody\.invalid'"):
        check_endpoint("nobody.invalid:29400", first=False)


def test_a_port_that_is_taken_is_refused_on_the_first_machine_only():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        check_endpoint(endpoint, first=False)
        with pytest.raises(CprspecError, match="is in use on this machine by pid"):
            check_endpoint(endpoint, first=True)


def test_an_interface_that_others_can_reach():
    names = {name for _, name in socket.if_nameindex()}
    for host in ("127.0.0.1", "localhost", "192.0.2.7", "nobody.invalid"):
        assert interface_towards(host) in (names - {"lo"}) | {None}


def test_a_second_signal_within_a_step_of_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    assert [insists(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == [True, True, False]
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert [insists(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == [True, False, False]


def test_a_sheltered_process_does_not_hear_what_this_one_does():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        with sheltered():
            child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1)
            signal.raise_signal(signal.SIGUSR1)
            assert heard == []
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert child.stdout.readline() == b"up\n"
    for number in (signal.SIGUSR1, signal.SIGTERM):
        child.send_signal(number)
    child.communicate(b"\n")
    assert child.returncode == 0
