"""Signs of life: that they go on after what may pass, and that they tell waiting from working."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from gloo import on_ranks

from cprspec.errors import CprspecError
from cprspec.learning.exchange import gather_cat
from cprspec.learning.gradients import share_gradients
from cprspec.learning.ranks import Ranks
from cprspec.learning.waits import waiting, waiting_since
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import STEP, WAIT, read_rank
from cprspec.training import pulse, waited
from cprspec.training.pulse import Pulse
from cprspec.training.report import Report
from cprspec.training.waited import Waited

CPU = torch.device("cpu")


def until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(pulse, "PULSE_S", 0.02)
    folder = tmp_path / "run"
    folder.mkdir()
    return RunDir(folder)


@pytest.fixture
def alive(run):
    alive = Pulse(run, Ranks(rank=1, world=2, device=CPU))
    yield alive
    alive.close(failed=False)


def heartbeat(run):
    return read_rank(run.rank(1)).heartbeat


def beats_again(run):
    last = heartbeat(run)
    until(lambda: heartbeat(run) > last)
    return True


@pytest.mark.parametrize("error", [CprspecError("No space left on device"), OSError(errno.EIO, "I/O"), MemoryError()])
def test_a_write_that_failed_once_silences_nobody(run, alive, monkeypatch, error):
    write, failed = pulse.atomic_write_json, threading.Event()

    def broken(*arguments, **options):
        if not failed.is_set():
            failed.set()
            raise error
        write(*arguments, **options)

    monkeypatch.setattr(pulse, "atomic_write_json", broken)
    assert failed.wait(30)
    assert beats_again(run)


def stale_once(folder, monkeypatch):
    """The next look at the folder fails as on a network; an event that is set when it did."""
    stat, failed = Path.stat, threading.Event()

    def broken(self, **options):
        if self == folder and not failed.is_set():
            failed.set()
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", broken)
    return failed


def test_a_network_that_is_away_silences_nobody(run, alive, monkeypatch):
    assert stale_once(run.path, monkeypatch).wait(30)
    assert beats_again(run)


def test_a_removed_run_is_not_made_anew(run, alive):
    shutil.rmtree(run.path)
    until(lambda: not alive._thread.is_alive())
    shutil.rmtree(run.path, ignore_errors=True)  # it may have been in the middle of writing
    alive.close(failed=True)
    assert not run.path.exists()


def test_the_runs_own_heartbeat_goes_on_as_well(run, monkeypatch):
    from cprspec.training import report

    monkeypatch.setattr(report, "HEARTBEAT_S", 0.02)
    write, failed = report.atomic_write_json, threading.Event()
    news = Report(run, progress=None)

    def broken(*arguments, **options):
        if not failed.is_set():
            failed.set()
            raise CprspecError("No space left on device")
        write(*arguments, **options)

    try:
        assert stale_once(run.path, monkeypatch).wait(30)
        monkeypatch.setattr(report, "atomic_write_json", broken)
        assert failed.wait(30)
        before = report.read_status(run.status)["heartbeat"]
        until(lambda: report.read_status(run.status)["heartbeat"] > before)
    finally:
        news.close()


def test_a_gpu_without_counters(run, monkeypatch):
    """A slice of one (MIG) has none; NVIDIA's library says so by an error of its own."""

    class NVMLError(Exception):
        """As the library has it."""

    def utilization(device):
        raise NVMLError("Not Supported")

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    alive = Pulse(run, Ranks(rank=1, world=2, device=torch.device("cuda", 0)))
    alive.close(failed=False)
    state = read_rank(run.rank(1))
    assert (state.gpu_gib, state.gpu_use) == (1.0, None)


def test_a_marked_wait_is_told_with_its_length(run, alive):
    alive.at(STEP)
    with waiting():
        until(lambda: read_rank(run.rank(1)).peers)
        first = read_rank(run.rank(1)).peers_s
        until(lambda: read_rank(run.rank(1)).peers_s > first)
    until(lambda: not read_rank(run.rank(1)).peers)
    alive.at(WAIT)
    until(lambda: read_rank(run.rank(1)).stage == WAIT)
    assert read_rank(run.rank(1)).peers_s == 0


def test_a_wait_within_a_wait_began_with_the_first():
    assert waiting_since() is None
    with waiting():
        began = waiting_since()
        gather_cat(torch.zeros(1))
        assert waiting_since() == began
    assert waiting_since() is None
    with pytest.raises(ZeroDivisionError), waiting():
        raise ZeroDivisionError
    assert waiting_since() is None


@pytest.fixture
def thread_in_torch():
    """Start a thread in a function of torch.autograd's that calls another one; it is ended afterwards."""
    names, over = {}, threading.Event()
    exec(compile("def call(function, over): function(over)", f"{waited._SHARING[1]}/x.py", "exec"), names)
    threads = []

    def start(function):
        threads.append(threading.Thread(target=names["call"], args=(function, over)))
        threads[-1].start()
        return threads[-1].ident

    yield start
    over.set()
    for thread in threads:
        thread.join()


def test_the_backward_pass_waits_where_it_is_idle(thread_in_torch):
    began = time.monotonic()
    look = Waited(thread_in_torch(threading.Event.wait))
    time.sleep(0.3)
    assert 0.2 < look.look(began) <= time.monotonic() - began
    time.sleep(0.2)
    first = look.look(began)
    assert first > 0.4, "it goes on"
    assert look.look(time.monotonic() + 0.0) < first, "another stage has begun: it has not waited since before that"


@pytest.mark.parametrize(("share", "waits"), [(0.3, False), (0.1, True)])
def test_the_backward_pass_does_not_wait_where_it_computes(thread_in_torch, monkeypatch, share, waits):
    monkeypatch.setattr(Waited, "_busy_s", lambda _: share * time.monotonic())  # a busy machine may give less
    look = Waited(thread_in_torch(threading.Event.wait))
    for _ in range(3):
        time.sleep(0.02)
        assert (look.look(0.0) > 0) == waits


def backward(rank, late_s):
    """What rank 0 sees of itself, every tenth of a second, while rank 1 comes too late to average gradients."""
    model = share_gradients(torch.nn.Linear(4, 4))
    loss = model(torch.ones(2, 4)).sum()
    look, over, seen = Waited(threading.get_ident()), threading.Event(), []

    def watch():
        while not over.wait(0.1):
            seen.append(look.look(0.0))

    if rank:
        time.sleep(late_s)
    watcher = threading.Thread(target=watch)
    watcher.start()
    loss.backward()
    over.set()
    watcher.join()
    return torch.tensor(seen)


def test_gradients_of_a_rank_that_is_late_are_waited_for():
    first, _ = on_ranks(2, backward, 1.5)
    assert first.max() > 1.0
    assert (first[first > 0].diff() > 0).all(), "one wait, that grows"
