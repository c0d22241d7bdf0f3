"""What the run said: its events as lines, or the log of one rank; the newest last, filtered by level and words."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, RichLog

from cprspec.runs import events
from cprspec.runs.history import History
from cprspec.runs.layout import RunDir
from cprspec.runs.logs import LEVELS, LogLine, log_ranks, read_log
from cprspec.runs.telling import clock, describe, epoch_words
from cprspec.tui.screens.pane import Pane
from cprspec.tui.text import plain
from cprspec.tui.widgets.line import Line

_STYLES = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red", "DEBUG": "dim"}
_LONGEST = 2000


class LogScreen(Pane):
    """The lines of the watched run."""

    NAME = "log"
    AUTO_FOCUS = "RichLog"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("v", "level", "Level"),
        Binding("right_square_bracket", "turn(1)", "Events/ranks", key_display="[ ]"),
        Binding("left_square_bracket", "turn(-1)", "Previous log", show=False),
        Binding("g,home", "first", "Top"),
        Binding("G,end", "last", "End", key_display="G"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._level, self._which = 0, 0
        self._written: tuple[object, list[LogLine]] = (None, [])

    def body(self) -> ComposeResult:
        yield Line(id="log-head")
        yield Input(placeholder="words that a line must hold: Enter keeps them, Esc drops them", id="search")
        yield RichLog(markup=False, highlight=False, wrap=True, max_lines=5000)

    def show(self) -> None:
        watched = self.monitor.watched
        if watched is None:
            self.query_one("#log-head", Line).say("no run is chosen: 1 shows the runs, Enter opens one")
            return
        name, lines = self._lines(watched)
        words = self.query_one("#search", Input).value.lower().split()
        shown = [
            line
            for line in lines
            if LEVELS.index(line.level) >= self._level and all(word in line.text.lower() for word in words)
        ]
        level = "every level" if self._level == 0 else f"{LEVELS[self._level].lower()} and worse"
        head = f"{name}: {len(shown)} of {len(lines)} lines, {level}" + (f", with '{' '.join(words)}'" if words else "")
        self.query_one("#log-head", Line).say(plain(head))
        self._write((watched, name), shown)

    def _lines(self, watched: RunDir) -> tuple[str, list[LogLine]]:
        ranks = log_ranks(watched)
        self._which %= len(ranks) + 1
        if self._which == 0:
            return "events", event_lines(self.monitor.source.history(watched))
        rank = ranks[self._which - 1]
        return f"rank {rank}", read_log(watched.log(rank))

    def _write(self, which: object, lines: list[LogLine]) -> None:
        """Append what is new; everything again where the beginning changed, or the width to which lines are wrapped."""
        box = self.query_one(RichLog)
        width = box.scrollable_content_region.width or None
        which = (which, width)
        old_which, old = self._written
        if which != old_which or lines[: len(old)] != old:
            box.clear()
            old = []
        for line in lines[len(old) :]:
            text = Text(f"{line.time} " if line.time else "", style="dim")
            if line.level != "INFO":
                text.append(f"{line.level} ", style=_STYLES.get(line.level, ""))
            box.write(text.append_text(_wrapped(line.text, _STYLES.get(line.level, ""))), width)
        self._written = (which, list(lines))

    def action_search(self) -> None:
        """Show the search and write in it."""
        box = self.query_one("#search", Input)
        box.display = True
        box.focus()

    @on(Input.Changed, "#search")
    def _changed(self) -> None:
        self.show()

    @on(Input.Submitted, "#search")
    def _done(self) -> None:
        box = self.query_one("#search", Input)
        box.display = bool(box.value)
        self.query_one(RichLog).focus()

    def action_back(self) -> None:
        """Drop the search; without one, to the runs."""
        box = self.query_one("#search", Input)
        if not box.display:
            super().action_back()
            return
        box.value = ""
        box.display = False
        self.query_one(RichLog).focus()

    def action_level(self) -> None:
        """Everything, or only what is at least as grave as the next level."""
        self._level = (self._level + 1) % (LEVELS.index("ERROR") + 1)
        self.show()

    def action_turn(self, by: int) -> None:
        """The next log: events, then each rank's."""
        self._which += by
        self.show()

    def action_first(self) -> None:
        """To the oldest line."""
        self.query_one(RichLog).scroll_home(animate=False)

    def action_last(self) -> None:
        """To the newest line, and stay there."""
        self.query_one(RichLog).scroll_end(animate=False)


def _wrapped(text: str, style: str) -> Text:
    line = plain(text, _LONGEST, style)
    line.no_wrap, line.overflow = False, "fold"
    return line


def event_lines(history: History) -> list[LogLine]:
    """The events of a run but its steps, as lines with levels."""
    with history.lock:
        happened = list(history.lines)
    lines = []
    for event in happened:
        level = "ERROR" if isinstance(event, events.RunFailed) else "INFO"
        level = "WARNING" if isinstance(event, events.Warned | events.Stopped) else level
        text = f"{event.phase}: {epoch_words(event)}" if isinstance(event, events.Epoch) else describe(event)
        if text is not None:
            lines.append(LogLine(clock(event.time), level, text))
    return lines
