"""While videos are prepared for a run, before its ranks start: the run says how far that is, and hears that it shall stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from cprspec.errors import CprspecError
from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.training.report import HEARTBEAT_S, read_status
from cprspec.training.signals import (
    STOP_SIGNALS,
    URGENT_AFTER_S,
    Stopped,
    forget_request,
    handlers_kept,
    insists,
    leave_at_once,
)

Progress = Callable[[int, int], None]


@contextmanager
def preparing(run: RunDir | None) -> Iterator[Progress]:
    """Have `run` say how far preparing is (None: another machine writes it); what is given hears (videos done, videos).

    Raises `Stopped` when a signal or `cprspec stop` asks for it. Where preparing ends well the status is what it was before.
    """
    with _stopped_by_signals():
        if run is None:
            yield lambda done, videos: None
            return
        with run.lock():
            status = _Status(run)
            try:
                yield status.told
            except Stopped as stopped:
                status.close("stopped", f"by {signal.Signals(stopped.number).name}")
                raise
            except Exception as error:
                status.close("failed", str(error) or type(error).__name__)
                raise
            finally:
                status.close()


class _Status:
    """`status.json` while videos are prepared, and whoever asks the run to stop; both are a thread's."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._done = run, (0, 0)
        self._before = run.status.read_bytes() if run.status.exists() else None
        # How often the run was started is counted by its ranks, so an attempt that gets no further is none.
        self._facts = {**read_status(run.status), "schema": 1, "kind": "status", "why": None, "started": time.time()}
        self._facts |= {"pid": os.getpid(), "host": socket.gethostname()}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="preparing")
        self._thread.start()

    def told(self, done: int, videos: int) -> None:
        self._done = done, videos

    def close(self, state: str | None = None, why: str | None = None) -> None:
        """Say how it ended, else leave the status as it was found; the first word counts."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        if state is not None:
            with suppress(CprspecError, OSError):  # of a full disk, which may be why
                self._write(state=state, why=why)
        elif self._before is None:
            self._run.status.unlink(missing_ok=True)
        else:
            atomic_write_json(self._run.status, json.loads(self._before))

    def _beat(self) -> None:
        asked = False
        while not self._closed.wait(HEARTBEAT_S):
            with suppress(CprspecError, OSError):  # it may pass, and the run will say so if it does not
                done, videos = self._done
                self._write(state="running", preparing={"done": done, "of": videos or None})
            if not asked and self._run.stop_requested.exists():
                asked = True
                forget_request(self._run.stop_requested)
                # To the main thread itself: it may wait for a process, and hears only what interrupts that.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _write(self, **facts: Any) -> None:
        atomic_write_json(self._run.status, {**self._facts, **facts, "heartbeat": time.time()}, durable=False)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` when a signal asks to stop; a second one ends this process at once."""
    asked_at: float | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is not None:
            if insists(number) and now - asked_at > URGENT_AFTER_S:
                leave_at_once(128 + number)
            return
        asked_at = now
        raise Stopped(signal.SIGTERM if number == signal.SIGUSR1 else number, None)

    with handlers_kept():
        for number in STOP_SIGNALS:
            signal.signal(number, stop)
        yield
