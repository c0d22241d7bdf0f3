"""The curves of a run, followed while it writes: what every step and epoch of each phase said, in columns of numbers.

Reads only what was added since the last time. A phase keeps at most `MOST` steps: when it has more, every second is
dropped and from then on only every second, fourth, ... is read, evenly over the phase. What a later attempt makes again
replaces what it made before, as in `drop_superseded`.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from cprspec.runs import events
from cprspec.runs.layout import RunDir
from cprspec.runs.tail import LogTail

MOST = 20_000
"""Steps that a phase keeps at most."""

LINES = 2_000
"""Events other than steps that are kept: the last ones."""

_CHUNK = 1 << 20
NAN = float("nan")

STEP_COLUMNS = (
    "step", "epoch", "t_s", "loss", "lr", "own_key_accuracy", "spread", "step_s", "wait_s", "clips_per_s", "decode_s",
    "augment_s",
)  # fmt: skip
EPOCH_COLUMNS = (
    "step", "epoch", "t_s", "loss", "own_key_accuracy", "precision", "cmr_source_median", "cmr_video_median",
    "clips_per_s", "rss_gib",
)  # fmt: skip


class Columns:
    """Rows of numbers by column; nan where a number is not known. The first column is the step and grows."""

    def __init__(self, names: Sequence[str]) -> None:
        self.columns = {name: array("d") for name in names}

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> array[float]:
        return self.columns[name]

    def add(self, event: events.Event) -> None:
        """Append a row; what is not before its step is void."""
        step = float(getattr(event, "step"))  # noqa: B009  # a step or an epoch
        if len(self) and self["step"][-1] >= step:
            self.cut(bisect_left(self["step"], step))
        for name, column in self.columns.items():
            value = getattr(event, name, None)
            column.append(NAN if value is None else value)

    def cut(self, rows: int) -> None:
        """Keep the first `rows`."""
        for column in self.columns.values():
            del column[rows:]

    def halve(self) -> None:
        """Keep every second row, and the last."""
        start = (len(self) - 1) % 2
        for name, column in self.columns.items():
            self.columns[name] = column[start::2]


class PhaseHistory:
    """What one phase did so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started: events.PhaseStarted | None = None
        self.finished: events.PhaseFinished | None = None
        self.steps = Columns(STEP_COLUMNS)
        self.epochs = Columns(EPOCH_COLUMNS)
        self.warm_up = False
        """Whether the last step only filled the queue."""
        self.every = 1
        """Of the steps logged now, each so-manieth is kept."""

    @property
    def position(self) -> int:
        """The number of the phase, from 0; -1 while its beginning is not known."""
        return self.started.position if self.started else -1


class History:
    """Follows the log of one run. `read` may run in another thread than those that look: both hold `lock`."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.lock = threading.RLock()
        self._tail = LogTail(run.events)
        self._generation = 0
        self._clear()

    def _clear(self) -> None:
        self.phases: dict[str, PhaseHistory] = {}
        self.run_started: events.RunStarted | None = None
        self.lines: list[events.Event] = []
        self.t_s = 0.0
        """Seconds of work until the last event."""
        self._tail.every = 1

    @property
    def problem(self) -> str | None:
        """Why the log cannot be read, or how many lines of it are damaged; None where all is well."""
        if self._tail.problem is not None:
            return self._tail.problem
        damage = self._tail.damage
        if not damage.count:
            return None
        line, reason = damage.lines[0]
        return f"{damage.count} damaged lines in the log, the first is line {line} ({reason})"

    def read(self, budget_s: float = float("inf")) -> bool:
        """Take in what was added, for about `budget_s` seconds at most; whether there may be more."""
        began = time.monotonic()
        while True:
            with self.lock:
                some = self._tail.poll(_CHUNK)
                if self._tail.generation != self._generation:
                    self._generation = self._tail.generation
                    self._clear()
                for event in some:
                    self._take(event)
            if self._tail.caught_up:
                return False
            if time.monotonic() - began > budget_s:
                return True

    def _take(self, event: events.Event) -> None:
        self.t_s = event.t_s
        match event:
            case events.Step():
                phase = self._phase(event.phase)
                phase.steps.add(event)
                phase.warm_up, phase.finished = event.warm_up, None
                if len(phase.steps) > MOST:
                    phase.steps.halve()
                    phase.every = self._tail.every = 2 * phase.every
                return
            case events.Epoch():
                self._phase(event.phase).epochs.add(event)
            case events.Evaluating():
                return
            case events.RunStarted():
                self.run_started = event
            case events.Resumed():
                self._resume(event)
            case events.PhaseStarted():
                phase = self._phase(event.phase)
                phase.started, self._tail.every = event, phase.every
            case events.PhaseFinished():
                self._phase(event.phase).finished = event
            case _:
                pass
        self.lines.append(event)
        if len(self.lines) > 2 * LINES:
            del self.lines[:-LINES]

    def _phase(self, name: str) -> PhaseHistory:
        if name not in self.phases:
            self.phases[name] = PhaseHistory(name)
        return self.phases[name]

    def _resume(self, event: events.Resumed) -> None:
        """What the attempt makes again is void: of its phase from `from_step` on, and of the later phases all."""
        phase = self._phase(event.phase)
        phase.finished = None
        phase.steps.cut(bisect_left(phase.steps["step"], event.from_step))
        phase.epochs.cut(bisect_right(phase.epochs["step"], event.from_step))
        for other in list(self.phases.values()):
            if other.position > phase.position:
                del self.phases[other.name]
