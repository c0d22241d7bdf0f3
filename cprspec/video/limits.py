"""What a process that decodes files of strangers may take before the kernel ends it: computing, waiting, memory.

A decoder that spins in C cannot be interrupted from Python, so the limits are the kernel's timers with their default action.
They hold in processes that asked for them because somebody can do without them, see `spread`; elsewhere nothing happens.
"""

from __future__ import annotations

import resource
import signal
from pathlib import Path

from cprspec.data.defects import Defect
from cprspec.data.records import Flaw

COMPUTE_S = 2.0
"""Processor seconds within which a file must be opened, and from each frame to the next."""

WAIT_S = 30.0
"""The same in seconds of the clock: for disks that stall, not for machines that are busy."""

MEMORY_BYTES = 300 << 20
"""What decoding may take over an idle process."""


_limited = False


def limit_time() -> None:
    """Let the kernel end this process when a file takes too long."""
    global _limited  # noqa: PLW0603  a fact of this process
    _limited = True


def limit_time_and_memory() -> None:
    """The same when it needs `MEMORY_BYTES` more than now; Linux alone knows how much that is."""
    limit_time()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return
    has = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (has + MEMORY_BYTES, resource.RLIM_INFINITY))


def progressing() -> None:
    """There is progress with a file: the limits of time begin anew."""
    if _limited:
        signal.setitimer(signal.ITIMER_PROF, COMPUTE_S)
        signal.setitimer(signal.ITIMER_REAL, WAIT_S)


def done() -> None:
    """No file is being decoded any more."""
    if _limited:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def flaw_of_death(exitcode: int) -> Flaw:
    """What is wrong with the file that a process died of."""
    if exitcode == -signal.SIGPROF:
        return Flaw(defect=Defect.TOO_SLOW, reason=f"no frame within {COMPUTE_S:g} s of computing")
    if exitcode == -signal.SIGALRM:
        return Flaw(defect=Defect.TOO_SLOW, reason=f"no frame within {WAIT_S:g} s")
    if exitcode == -signal.SIGKILL:
        return Flaw(defect=Defect.CRASH, reason="the process that decoded it was killed, perhaps for want of memory")
    cause = signal.Signals(-exitcode).name if exitcode < 0 else f"exit code {exitcode}"
    return Flaw(defect=Defect.CRASH, reason=f"the decoder crashed ({cause})")
