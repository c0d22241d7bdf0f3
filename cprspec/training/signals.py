"""Stopping cleanly: the first SIGINT, SIGTERM or `cprspec stop` ends a run after its step, the second ends it now."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType


class StopRequest:
    """Remembers that this process was asked to stop. `number` is the signal's, 0 while nobody asked."""

    def __init__(self) -> None:
        self.number = 0

    def install(self) -> None:
        """Listen to SIGINT and SIGTERM in this process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        # A launcher may forward a signal that the terminal has already delivered: only Ctrl-C pressed twice is urgent.
        if self.number and number == signal.SIGINT:
            os._exit(128 + number)
        self.number = number

    def look_for(self, file: Path) -> None:
        """Take the file that `cprspec stop` makes for a request."""
        if not self.number and file.exists():
            file.unlink(missing_ok=True)
            self.number = signal.SIGTERM


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when its launcher dies, so that no rank is left alone."""
    import ctypes

    pr_set_pdeathsig = 1
    try:
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # no prctl on this system: ranks then end with their process group's time limit
