"""The progress of a run as a person sees it: a live display on a terminal, a plain line now and then elsewhere.

Everything goes to standard error and is text, never markup. Times left come from the run's monotonic clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean
from cprspec.runs import events

LINE_EVERY_S = 5.0
"""Seconds between two plain lines about steps."""

MAX_TEXT = 500
_LONGEST_HEAD = 40


class Progress:
    """Shows the events of a run as they happen; use as a context manager.

    `stream` is standard error unless given; a terminal gets the live display, anything else plain lines.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(
            file=stream or sys.stderr, highlight=False, soft_wrap=not (stream or sys.stderr).isatty()
        )
        self._live: Live | None = None
        self._phase: events.PhaseStarted | None = None
        self._first: events.Step | None = None
        self._last: events.Step | None = None
        self._epoch: events.Epoch | None = None
        self._evaluating: events.Evaluating | None = None
        self._line_t_s = float("-inf")

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True, redirect_stdout=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(Text(""))
            self._live.stop()
            self._live = None

    def show(self, event: events.Event) -> None:
        """Take note of `event` and show what changed."""
        if isinstance(event, events.Step):
            self._step(event)
        elif isinstance(event, events.Epoch):
            self._epoch = event
            if self._live is None:
                self._say(self._epoch_line(event))
        elif isinstance(event, events.Evaluating):
            self._evaluating_now(event)
        else:
            if isinstance(event, events.PhaseStarted):
                self._phase, self._first, self._last, self._epoch = event, None, None, None
                self._line_t_s = event.t_s
            self._evaluating = None
            if text := describe(event):
                self._say(text)
        if self._live is not None:
            self._live.update(self._display())

    def seconds_left(self) -> float | None:
        """Seconds until the phase ends at its pace so far, never negative; None while that is unknown."""
        phase, first, last = self._phase, self._first, self._last
        if phase is None or first is None or last is None or last.step <= first.step:
            return None
        pace_s = max(0.0, last.t_s - first.t_s) / (last.step - first.step)
        return max(0.0, pace_s * (phase.epochs * phase.steps_per_epoch - last.step - 1))

    def _step(self, step: events.Step) -> None:
        if self._first is None or step.phase != self._first.phase or step.step < self._first.step:
            self._first = step
        self._last = step
        if self._live is None and step.t_s - self._line_t_s >= LINE_EVERY_S:
            self._line_t_s = step.t_s
            self._say(self._step_line(step))

    def _evaluating_now(self, event: events.Evaluating) -> None:
        self._evaluating = event
        over = event.epoch + 1 == event.of
        if self._live is None and (over or event.t_s - self._line_t_s >= LINE_EVERY_S):
            self._line_t_s = event.t_s
            self._say(_evaluating_line(event))

    def _say(self, text: str) -> None:
        self._console.print(Text(clean(text, MAX_TEXT)))

    def _head(self) -> str:
        phase = self._phase
        return f"phase {phase.position + 1} of {phase.of}, {phase.phase}" if phase else "run"

    def _step_line(self, step: events.Step) -> str:
        epochs = f" of {self._phase.epochs}" if self._phase else ""
        parts = [
            f"{self._head()}: epoch {step.epoch}{epochs}",
            f"step {step.step}",
            f"loss {_number(step.loss)}",
            f"{step.clips_per_s:.0f} clips/s",
        ]
        if step.warm_up:
            parts.append("filling the queue")
        if (left := self.seconds_left()) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _epoch_line(self, epoch: events.Epoch) -> str:
        parts = [
            f"{self._head()}: epoch {epoch.epoch} done in {duration(epoch.seconds_s)}",
            f"loss {_number(epoch.loss)}",
            f"own key {_number(epoch.own_key_accuracy, percent=True)}",
        ]
        if epoch.precision is not None:
            parts.append(f"mining precision {_number(epoch.precision, percent=True)}")
        if epoch.cmr_source_median is not None:
            parts.append(f"median CMR {_number(epoch.cmr_source_median, percent=True)}")
        return ", ".join([*parts, f"{epoch.clips_per_s:.0f} clips/s"])

    def _display(self) -> Group:
        """Two lines: the phase, its bar and the time left; epoch, loss, speed and what the last epoch mined."""
        phase, step, epoch = self._phase, self._last, self._epoch
        if self._evaluating is not None:
            return Group(Text(clean(_evaluating_line(self._evaluating), MAX_TEXT), no_wrap=True, overflow="ellipsis"))
        if phase is None:
            return Group()
        total = max(1, phase.epochs * phase.steps_per_epoch)
        left = self.seconds_left()
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Text(clean(self._head(), _LONGEST_HEAD), no_wrap=True, overflow="ellipsis"),
            ProgressBar(total=total, completed=min(total, step.step + 1) if step else 0, width=20),
            Text(f"{duration(left)} left" if left is not None else "", no_wrap=True),
        )
        facts = [f"epoch {step.epoch if step else 0} of {phase.epochs}"]
        if step is not None:
            facts += [f"loss {_number(step.loss)}", f"{step.clips_per_s:.0f} clips/s"]
            facts += ["filling the queue"] if step.warm_up else []
        if epoch is not None and epoch.precision is not None:
            facts.append(f"mining precision {_number(epoch.precision, percent=True)}")
        return Group(grid, Text(", ".join(facts), no_wrap=True, overflow="ellipsis"))


def describe(event: events.Event) -> str | None:
    """One line about an event that is neither a step nor an epoch; None where there is nothing to say."""
    text: str | None
    match event:
        case events.RunStarted():
            phases = f"{len(event.phases)} phases on {event.world_size} process(es)"
            text = f"run of {event.name}, seed {event.seed}: {phases}"
        case events.Resumed():
            text = f"continued: phase {event.phase} from step {event.from_step} (attempt {event.attempt})"
        case events.PhaseStarted():
            text = _phase_line(event)
        case events.PhaseFinished():
            text = f"phase {event.phase} finished in {duration(event.seconds_s)}"
        case events.Evaluated():
            text = f"evaluated {event.name}: {event.records} records in {duration(event.seconds_s)}"
        case events.Warned():
            text = f"warning: {event.message}"
        case events.RunFinished():
            text = f"run finished in {duration(event.seconds_s)}"
        case events.RunFailed():
            text = f"run failed: {event.message}"
        case events.Stopped():
            text = f"stopped by {event.signal} after step {event.step}; everything is saved"
        case _:
            text = None
    return text


def _evaluating_line(event: events.Evaluating) -> str:
    on = f"{event.encoder} on {event.dataset}"
    return f"evaluation {event.name}, {on}: epoch {event.epoch} of {event.of}, loss {_number(event.loss)}"


def _phase_line(event: events.PhaseStarted) -> str:
    head = f"phase {event.position + 1} of {event.of}, {event.phase}"
    if event.reused_from:
        return f"{head}: taken from {event.reused_from}, where it was trained already"
    miner = f", mined by {event.miner}" if event.miner else ""
    views = " and ".join(event.views)
    return f"{head}: {views}{miner}, {event.epochs} epochs of {event.steps_per_epoch} steps"


def duration(seconds: float) -> str:
    """Seconds as people say them: `8 s`, `3 min 05 s`, `2 h 07 min`; never negative."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _number(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


@contextmanager
def filling(stream: TextIO | None = None, words: str = "preparing videos") -> Iterator[Callable[[int, int], None]]:
    """A display of a long job, by default of preparing videos: call what it gives with (things done, things to do)."""
    out = stream or sys.stderr
    console = Console(file=out, highlight=False, soft_wrap=not out.isatty())
    began, last = time.monotonic(), time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < (0.25 if console.is_terminal else LINE_EVERY_S):
            return
        last = now
        left = (now - began) / done * (total - done)
        text = f"{words} {done}/{total}, {left:.0f} s left"
        console.print(Text(text), end="\r" if console.is_terminal and done < total else "\n")

    yield show
