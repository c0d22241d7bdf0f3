"""Processes that must not outlive the one they work for."""

from __future__ import annotations

import ctypes
import os
import signal
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
