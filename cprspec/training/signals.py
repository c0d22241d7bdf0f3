"""Stopping cleanly: the first SIGINT, SIGTERM or `cprspec stop` ends a run after its step, the second ends it now.

SIGUSR1 asks as SIGTERM does: batch systems can send it some time before they end a job.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cprspec.learning.ranks import Ranks

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

URGENT_AFTER_S = 0.3
"""A second signal counts as one from here on, seconds: a terminal and a wrapper may both deliver the first."""


def insists(number: int) -> bool:
    """Whether this signal, coming a second time, means at once: SIGUSR1 never does.

    Within a step of Slurm SIGTERM does not, either: Slurm sends it to every process, and srun does so again; it ends what
    does not leave in time by itself.
    """
    return number == signal.SIGINT or (number == signal.SIGTERM and "SLURM_STEP_ID" not in os.environ)


def show_cursor() -> None:
    """Have a terminal's cursor back that the live display of a process hid, which could not show it again."""
    if os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        with suppress(OSError, ValueError, AttributeError):  # there may be no standard error
            if os.isatty(sys.__stderr__.fileno()):  # type: ignore[union-attr]
                os.write(sys.__stderr__.fileno(), b"\x1b[?25h")  # type: ignore[union-attr]


def leave_at_once(code: int) -> NoReturn:
    """End this process, tidying up nothing."""
    show_cursor()
    os._exit(code)


class Stopped(Exception):  # noqa: N818  # it is an end, not an error
    """The run ended early because it was asked to; what is done is saved. `step`: of the phase, None outside training."""

    def __init__(self, number: int, step: int | None) -> None:
        self.number = number
        self.step = step


class StopRequest:
    """Remembers that this process was asked to stop. `number` is the signal's, 0 while nobody asked.

    `patient`: a second signal does not end it at once; for ranks whose launcher does that.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.number = 0
        self._patient = patient
        self._asked_at = 0.0

    def install(self) -> None:
        """Listen to `STOP_SIGNALS` in this process."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._asked)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        repeated = self.number and insists(number) and now - self._asked_at > URGENT_AFTER_S
        if repeated and not self._patient:
            leave_at_once(128 + number)
        if not self.number:
            self.number, self._asked_at = signal.SIGTERM if number == signal.SIGUSR1 else number, now

    def look_for(self, file: Path) -> None:
        """Take the file that `cprspec stop` makes for a request."""
        if not self.number and file.exists():
            file.unlink(missing_ok=True)
            self.number = signal.SIGTERM


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Give `STOP_SIGNALS` back the handlers that they had: what listens for one run shall not swallow what ends the next."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forget_request(file: Path) -> None:
    """Remove a request to stop that an earlier attempt was meant by, and died before it heard."""
    with suppress(OSError):
        file.unlink(missing_ok=True)


def asked_to_stop(stop: StopRequest, file: Path, ranks: Ranks) -> int:
    """The signal that any rank was asked to stop by, or 0; every rank must ask, and all hear the same."""
    if ranks.first:
        stop.look_for(file)
    return ranks.largest(stop.number)
