"""Stopping cleanly: the first SIGINT, SIGTERM or `cprspec stop` ends a run after its step, the second ends it now."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType

from cprspec.learning.ranks import Ranks

URGENT_AFTER_S = 1.0
"""A second Ctrl-C counts as one from here on: a terminal and a launcher may both deliver the first."""


class Stopped(Exception):  # noqa: N818  # it is an end, not an error
    """The run ended early because it was asked to; what is done is saved. `step`: of the phase, None outside training."""

    def __init__(self, number: int, step: int | None) -> None:
        self.number = number
        self.step = step


class StopRequest:
    """Remembers that this process was asked to stop. `number` is the signal's, 0 while nobody asked."""

    def __init__(self) -> None:
        self.number = 0
        self._asked_at = 0.0

    def install(self) -> None:
        """Listen to SIGINT and SIGTERM in this process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number and number == signal.SIGINT and now - self._asked_at > URGENT_AFTER_S:
            os._exit(128 + number)
        if not self.number:
            self.number, self._asked_at = number, now

    def look_for(self, file: Path) -> None:
        """Take the file that `cprspec stop` makes for a request."""
        if not self.number and file.exists():
            file.unlink(missing_ok=True)
            self.number = signal.SIGTERM


def asked_to_stop(stop: StopRequest, file: Path, ranks: Ranks) -> int:
    """The signal that any rank was asked to stop by, or 0; every rank must ask, and all hear the same."""
    if ranks.first:
        stop.look_for(file)
    return ranks.largest(stop.number)


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when its launcher dies, so that no rank is left alone."""
    import ctypes

    pr_set_pdeathsig = 1
    try:
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # no prctl on this system: ranks then end with their process group's time limit
