"""What a run says while it runs: the event log, the state file and the progress display, all on rank 0."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from cprspec.errors import CprspecError
from cprspec.runs.events import Epoch, Event, EventLog, PhaseStarted, RunFailed, Step, Warned
from cprspec.runs.files import atomic_write_json, is_gone
from cprspec.runs.layout import RunDir
from cprspec.training.progress import Progress

HEARTBEAT_S = 2.0
"""Time between two writes of the state file, seconds."""


class Reporter(Protocol):
    """What training tells its news to. `attempt`: how often the run was started before."""

    attempt: int

    def __call__(self, event: Event) -> None:
        """Take note of `event`."""

    def sync(self) -> None:
        """Have everything told so far on disk."""


class Quiet:
    """The reporter of every rank but the first."""

    attempt = 0

    def __call__(self, event: Event) -> None:
        """Nothing: rank 0 tells it."""

    def sync(self) -> None:
        """Nothing to write."""


class Report:
    """Writes events and keeps `status.json` true: a thread beats its heart, also through long silent work."""

    def __init__(self, run: RunDir, progress: Progress) -> None:
        self._run = run
        self._log = EventLog(run.events)
        facts = read_status(run.status)
        self.attempt = int(facts["attempt"]) + 1 if "attempt" in facts else 0
        self._progress = progress
        self._status: dict[str, Any] = {
            "schema": 1, "kind": "status", "state": "running", "why": None, "phase": None, "epoch": None, "step": None,
            "attempt": self.attempt, "pid": os.getpid(), "host": socket.gethostname(), "started": time.time(),
        }  # fmt: skip
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self.state("running")
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def __call__(self, event: Event) -> None:
        """Log `event` and show it."""
        self._progress.show(self._log.write(event))
        if isinstance(event, PhaseStarted | Step | Epoch):
            place = {key: getattr(event, key) for key in ("phase", "epoch", "step") if hasattr(event, key)}
            self._status = {**self._status, "epoch": None, "step": None, **place}

    def sync(self) -> None:
        """Have the log on disk, as a checkpoint that follows relies on it."""
        self._log.sync()

    def state(self, state: str, why: str | None = None) -> None:
        """Write the state: `running`, `finished`, `stopped` or `failed`, and why."""
        self._status = {**self._status, "state": state, "why": why}
        if is_gone(self._run.path):
            return  # it was removed: writing would make it anew
        with self._writing:
            status = {**self._status, "heartbeat": time.time()}
            atomic_write_json(self._run.status, status, durable=state != "running")

    def close(self) -> None:
        """Stop the heartbeat and close the log."""
        self._closed.set()
        self._log.close()

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT_S):
            try:
                with self._writing:
                    if is_gone(self._run.path):
                        return
                    if not self._closed.is_set() and self._status["state"] == "running":
                        atomic_write_json(self._run.status, {**self._status, "heartbeat": time.time()}, durable=False)
            except (CprspecError, OSError, MemoryError):
                continue  # the run itself will say so; and it may pass


def note_end(run: RunDir, state: str, why: str) -> None:
    """Write down how an attempt ended whose ranks could not do it any more; `running` where another one follows."""
    status = read_status(run.status)
    if status.get("state") != "running":
        return  # rank 0 has said it, or it never began
    with run.lock(), EventLog(run.events) as log:
        log.write(RunFailed(message=why) if state == "failed" else Warned(message=why))
        atomic_write_json(run.status, {**status, "state": state, "why": why})


def read_status(path: Path) -> dict[str, Any]:
    """The state that an earlier attempt left, empty where there is none that can be read."""
    try:
        status = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) and isinstance(status.get("attempt"), int) else {}


def rss_gib() -> float:
    """Peak resident memory of this process, GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
