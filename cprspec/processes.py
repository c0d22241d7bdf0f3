"""How processes end: not outliving the one they work for, and without a quarrel on their way out."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when its parent dies, so that nothing is left behind.

    Elsewhere nothing happens: ranks then end with their process group's time limit, data workers with their next clip.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)  # it died before the kernel knew


@contextmanager
def sheltered() -> Iterator[None]:
    """Processes that are started in here never hear SIGTERM and SIGUSR1; this one hears them afterwards.

    Batch systems send both to every process of a job at once, and multiprocessing's own helpers (the server that data workers
    are forked from, the tracker of shared memory) would die of them before what they serve has saved itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR1))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_untidied(code: int) -> None:
    """Have this process end with `code` when all else is done, without taking the interpreter apart.

    gloo's threads outlive their group, and free the last tensors that they were given when they come to it. One that does so
    while the interpreter is taken apart ends the process by SIGABRT, whatever was achieved.
    """
    atexit.register(os._exit, code)


def leave(code: int) -> NoReturn:
    """The same at once, after the exit functions."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
