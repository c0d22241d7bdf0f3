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
from cprspec.runs.telling import LINE_EVERY_S, Narrator, duration, evaluating_line, number

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
        self._told = Narrator()

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
        line = self._told.line(event)
        if line and (self._live is None or not isinstance(event, events.Step | events.Epoch | events.Evaluating)):
            self._console.print(Text(clean(line, MAX_TEXT)))
        if self._live is not None:
            self._live.update(self._display())

    def _display(self) -> Group:
        """Two lines: the phase, its bar and the time left; epoch, loss, speed and what the last epoch mined."""
        told = self._told
        phase, step, epoch = told.phase, told.last, told.epoch
        if (now := told.evaluating) is not None:
            line = evaluating_line(now) if isinstance(now, events.Evaluating) else f"evaluation {now.name}"
            return Group(Text(clean(line, MAX_TEXT), no_wrap=True, overflow="ellipsis"))
        if phase is None:
            return Group()
        total = max(1, phase.epochs * phase.steps_per_epoch)
        left = told.seconds_left()
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Text(clean(told.head(), _LONGEST_HEAD), no_wrap=True, overflow="ellipsis"),
            ProgressBar(total=total, completed=min(total, step.step + 1) if step else 0, width=20),
            Text(f"{duration(left)} left" if left is not None else "", no_wrap=True),
        )
        facts = [f"epoch {step.epoch if step else 0} of {phase.epochs}"]
        if step is not None:
            facts += [f"loss {number(step.loss)}", f"{step.clips_per_s:.0f} clips/s"]
            facts += ["filling the queue"] if step.warm_up else []
        if epoch is not None and epoch.precision is not None:
            facts.append(f"mining precision {number(epoch.precision, percent=True)}")
        return Group(grid, Text(", ".join(facts), no_wrap=True, overflow="ellipsis"))


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
