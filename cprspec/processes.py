"""Processes that must not outlive the one they work for."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process

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
