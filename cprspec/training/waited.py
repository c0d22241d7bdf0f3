"""For how long the training thread has waited for other ranks, as another thread sees it.

Where training marks that it waits (learning/waits.py) this is exact. The backward pass averages gradients while it computes,
and cannot be marked: there, and in torch's own collectives, a thread waits that uses no processor.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

import cprspec
from cprspec.learning.waits import waiting_since

_OURS = str(Path(cprspec.__file__).parent)
_SHARING = (str(Path(torch.distributed.__file__).parent), str(Path(torch.autograd.__file__).parent))
"""Where a rank waits for the others: in a collective, or in the backward pass, which averages gradients."""

IDLE = 0.8
"""The share of the time that a thread has been idle in when it is taken to wait."""


class Waited:
    """Looks at the thread `thread`, from time to time."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._clock = time.pthread_getcpuclockid(thread) if hasattr(time, "pthread_getcpuclockid") else None
        self._looked, self._busy = time.monotonic(), self._busy_s()
        self._since: float | None = None

    def look(self, stage_began: float) -> float:
        """Seconds that it has waited for others, 0 if it does not. It has not waited since before `stage_began`."""
        now, busy = time.monotonic(), self._busy_s()
        passed, worked = now - self._looked, busy - self._busy
        self._looked, self._busy = now, busy
        if (marked := waiting_since()) is not None:
            self._since = None
            return now - marked
        idle = self._clock is None or worked <= (1 - IDLE) * passed
        if not idle or not _shares(self._thread):
            self._since = None
            return 0.0
        if self._since is None:
            self._since = now if self._clock is None else now - (passed - worked)
        self._since = max(self._since, stage_began)
        return now - self._since

    def _busy_s(self) -> float:
        """The processor's time that it has used, seconds."""
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)


def _shares(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        if frame.f_code.co_filename.startswith(_SHARING):
            return True
        frame = frame.f_back
    return False
