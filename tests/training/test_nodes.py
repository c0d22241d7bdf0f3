"""What does not fit together is refused before anything is prepared or made, and machines wait for each other."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.learning.ranks import check_devices, pick_device
from cprspec.training import meeting
from cprspec.training.meeting import meet, not_met
from cprspec.training.nodes import Nodes, check_nodes


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (Nodes(nnodes=2), "several machines need --rdzv-endpoint"),
        (Nodes(nnodes=2, restarts=1, rdzv_endpoint="127.0.0.1:1"), "--restarts is for one machine"),
        (Nodes(nnodes=2, node_rank=2, rdzv_endpoint="127.0.0.1:1"), "--node-rank: machine 2 of 2"),
        (Nodes(node_rank=1), "--node-rank: machine 1 of 1"),
        (Nodes(nproc=2, rdzv_endpoint="here"), "is not HOST:PORT"),
    ],
)
def test_machines_that_do_not_fit_together(nodes, message):
    with pytest.raises(CprspecError, match=message):
        check_nodes(nodes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--nnodes", 2), "several machines need --rdzv-endpoint"),
        (("--node-rank", 1), "--node-rank: machine 1 of 1"),
        (("--nnodes", 2, "--restarts", 1, "--rdzv-endpoint", "127.0.0.1:1"), "--restarts is for one machine"),
        (("--set", "launch.device=cuda"), "launch.device: 'cuda' is asked for, and torch finds no GPU"),
    ],
)
def test_nothing_is_prepared_or_made_for_what_is_refused(cprspec, spec, tmp_path, options, message):
    cache = tmp_path / "own-cache"
    done = cprspec(
        "run", spec, "--runs", "runs", *options, check=False, CPRSPEC_CACHE=str(cache), CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "a mistake in cprspec" not in done.stderr
    assert not (tmp_path / "runs").exists() and not cache.exists()


@pytest.fixture
def gpus(monkeypatch):
    """So many GPUs, as torch tells."""

    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


def test_each_rank_has_a_gpu_of_its_own(gpus):
    gpus(2)
    for wish in ("auto", "cuda"):
        check_devices(wish, 2)
        with pytest.raises(CprspecError, match="3 ranks on this machine need a GPU each, and it has 2; --nproc 2"):
            check_devices(wish, 3)
    check_devices("cpu", 3)
    assert pick_device("auto", 1) == torch.device("cuda", 1)


def test_without_a_gpu(gpus):
    gpus(0)
    check_devices("auto", 3)
    assert pick_device("auto", 1) == pick_device("cpu", 0) == torch.device("cpu")
    for ask in (lambda: check_devices("cuda", 1), lambda: pick_device("cuda", 0)):
        with pytest.raises(CprspecError, match="torch finds no GPU to use"):
            ask()


@pytest.fixture
def pair(monkeypatch):
    """Two machines that meet at a free port."""
    monkeypatch.setattr(meeting, "POLL_S", 0.05)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    return [Nodes(nnodes=2, node_rank=number, rdzv_endpoint=endpoint) for number in range(2)]


class Meeting(threading.Thread):
    """A machine that waits for the others; `number` is the signal that it was asked to stop by."""

    def __init__(self, nodes, longest_h=1.0):
        super().__init__(daemon=True)
        self.nodes, self.longest_h, self.number, self.store, self.error = nodes, longest_h, 0, None, None
        self.start()

    def run(self):
        try:
            self.store = meet(self.nodes, lambda: self.number, self.longest_h)
        except CprspecError as error:
            self.error = error


@pytest.mark.parametrize("first", [0, 1])
def test_the_one_that_is_ready_waits_for_the_other(pair, first):
    early = Meeting(pair[first])
    early.join(1)
    assert early.is_alive()
    late = Meeting(pair[1 - first])
    for machine in (early, late):
        machine.join(10)
        assert machine.store is not None and machine.error is None


@pytest.mark.parametrize("number", [0, 1])
def test_one_that_waits_can_be_stopped(pair, number):
    waiting = Meeting(pair[number])
    time.sleep(0.3)
    waiting.number = 15
    waiting.join(2)
    assert not waiting.is_alive() and waiting.store is None and waiting.error is None


def test_a_machine_that_leaves_is_not_waited_for(pair):
    three = [Nodes(nnodes=3, node_rank=n, rdzv_endpoint=pair[0].rdzv_endpoint) for n in range(2)]
    first, second = (Meeting(nodes) for nodes in three)
    time.sleep(0.5)
    second.number = 15
    first.join(5)
    assert "machine 1 left before all were there" in str(first.error)


def test_waiting_has_an_end_and_says_what_to_look_at(pair):
    for number, hint in enumerate(("are the other machines running", "is machine 0 running")):
        waiting = Meeting(pair[number], longest_h=0.1 / 3600)
        waiting.join(5)
        assert hint in str(waiting.error) and "did not meet at 127.0.0.1:" in str(waiting.error)
        assert waiting.error.exit_code == 1
    assert "\x1b" not in str(not_met(pair[0], "x"))
