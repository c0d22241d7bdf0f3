"""Work in processes that may die: every job has an outcome, and the kernel ends what spins, waits or takes too much."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cprspec.data.defects import Defect
from cprspec.errors import CprspecError
from cprspec.video import limits
from cprspec.video.spread import Died, spread


def work(job):
    """What the job says."""
    if job == "raise":
        raise ValueError("a mistake")
    if job == "exit":
        os._exit(3)
    if job == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "spin":
        limits.progressing()
        while True:
            pass
    if job == "wait":
        limits.progressing()
        time.sleep(60)
    if job == "eat":
        return len(bytearray(limits.MEMORY_BYTES + (64 << 20)))
    return job, os.getpid()


def small_limits():
    """The limits of the processes here: fractions of a second."""
    limits.COMPUTE_S, limits.WAIT_S = 0.2, 0.4
    limits.limit_time_and_memory()


def cannot_begin():
    """A process that ends before it is ready."""
    os._exit(7)


def test_every_job_has_its_outcome_whatever_its_process_comes_to():
    jobs = [1, "exit", 2, "segv", "spin", 3, "wait", 4]
    found = dict(spread(work, jobs, 2, begin=small_limits))
    assert set(found) == set(jobs)
    assert {found[job][0] for job in (1, 2, 3, 4)} == {1, 2, 3, 4}
    assert found["exit"] == Died(3) and found["segv"] == Died(-signal.SIGSEGV)
    assert limits.flaw_of_death(found["spin"].exitcode).defect == Defect.TOO_SLOW
    assert limits.flaw_of_death(found["wait"].exitcode).defect == Defect.TOO_SLOW
    assert "SIGSEGV" in limits.flaw_of_death(found["segv"].exitcode).reason
    assert limits.flaw_of_death(-signal.SIGKILL).defect == limits.flaw_of_death(1).defect == Defect.CRASH


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the data of a process")
def test_memory_is_bounded():
    with pytest.raises(RuntimeError, match="MemoryError"):
        list(spread(work, ["eat"], 1, begin=small_limits))


def test_a_mistake_in_the_work_is_raised_here():
    with pytest.raises(RuntimeError, match="ValueError: a mistake"):
        list(spread(work, ["raise"], 1))


def test_processes_that_cannot_begin_are_no_fault_of_the_jobs():
    with pytest.raises(CprspecError, match=r"died at its start \(7\)"):
        list(spread(work, [1, 2], 1, begin=cannot_begin))


def test_nothing_is_left_when_the_iterator_is_closed():
    outcomes = spread(work, range(1000), 2)
    (_, (_, pid)), (_, (_, other)) = next(outcomes), next(outcomes)
    outcomes.close()
    for gone in (pid, other):
        assert not _alive(gone)


def test_nothing_is_left_when_the_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "from cprspec.video.spread import spread\n"
        "def work(job):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(spread(work, [1, 2], 2))\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        pids = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
    until = time.monotonic() + 20
    while any(_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
