"""Every run below the folder, newest first, live: filter, sort, mark, open."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Input

from cprspec.errors import clean
from cprspec.runs.glance import UNREAD, Glance
from cprspec.runs.layout import RunDir
from cprspec.tui.screens.pane import Pane
from cprspec.tui.text import plain
from cprspec.tui.widgets.line import Line
from cprspec.tui.widgets.runs_table import SORTS, RunsTable


class RunsScreen(Pane):
    """The list of runs."""

    NAME = "runs"
    AUTO_FOCUS = "RunsTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("m,space", "mark", "Mark", key_display="m"),
        Binding("M", "unmark", "Unmark all", show=False),
        Binding("g,home", "first", "First", show=False),
        Binding("G,end", "last", "Last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._sort, self._backwards = "run", False

    @property
    def target(self) -> RunDir | None:
        """The run under the cursor."""
        return self.query_one(RunsTable).chosen

    def body(self) -> ComposeResult:
        yield Input(placeholder="part of a name, state, phase or why: Enter keeps it, Esc drops it", id="filter")
        yield RunsTable()
        yield Line(id="summary")

    def show(self) -> None:
        shown = self._filtered()
        self.query_one(RunsTable).show(shown, self.monitor.marked, self._sort, self._backwards)
        self.query_one("#summary", Line).say(plain(self._summary(len(shown))))

    def _filtered(self) -> list[Glance]:
        words = self.query_one("#filter", Input).value.lower().split()
        return [glance for glance in self.monitor.news.glances if all(word in _text(glance) for word in words)]

    def _summary(self, shown: int) -> str:
        glances = self.monitor.news.glances
        if not self.monitor.has_news:
            return f"reading {self.monitor.source.runs} ..."
        notice = f"{self.monitor.notice} | " if self.monitor.notice else ""
        if not glances:
            return (
                notice.removesuffix(" | ")
                or f"no runs in {self.monitor.source.runs} yet; start one with cprspec run SPEC"
            )
        counts = dict.fromkeys(("running", "starting", "stale", "killed", "failed", "finished", "stopped", UNREAD), 0)
        for glance in glances:
            state = _state(glance)
            counts[state] = counts.get(state, 0) + 1
        told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        runs = f"{len(glances)} run{'s' * (len(glances) != 1)}"
        some = f"{shown} of {runs}" if shown != len(glances) else runs
        chosen = self.query_one(RunsTable).chosen
        under = self.monitor.news.glance(chosen)
        why = f" | {clean(under.why)}" if under and under.why else ""
        return f"{notice}{some}: {told}{why}"

    @on(DataTable.RowHighlighted)
    def _highlighted(self) -> None:
        self.show_title()
        self.query_one("#summary", Line).say(plain(self._summary(len(self._filtered()))))

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        if (chosen := self.query_one(RunsTable).chosen) is not None:
            self.monitor.open_run(chosen)

    @on(DataTable.HeaderSelected)
    def _sort_by(self, event: DataTable.HeaderSelected) -> None:
        name = str(event.column_key.value)
        if name in SORTS:
            self._backwards = not self._backwards if name == self._sort else False
            self._sort = name
            self.show()

    def action_filter(self) -> None:
        """Show the filter and write in it."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self.show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one("#filter").display = bool(self.query_one("#filter", Input).value)
        self.query_one(RunsTable).focus()

    def action_back(self) -> None:
        """Drop the filter."""
        box = self.query_one("#filter", Input)
        box.value = ""
        box.display = False
        self.query_one(RunsTable).focus()

    def action_sort(self, by: int) -> None:
        """Sort by the next column."""
        self._sort = SORTS[(SORTS.index(self._sort) + by) % len(SORTS)]
        self._backwards = False
        self.show()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._backwards = not self._backwards
        self.show()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or unmark it, and go on to the next."""
        table = self.query_one(RunsTable)
        if (chosen := table.chosen) is not None:
            self.monitor.toggle_mark(chosen)
            table.action_cursor_down()

    def action_unmark(self) -> None:
        """Unmark every run."""
        self.monitor.marked.clear()
        self.news()

    def action_first(self) -> None:
        """To the first run."""
        self.query_one(RunsTable).move_cursor(row=0)

    def action_last(self) -> None:
        """To the last run."""
        table = self.query_one(RunsTable)
        table.move_cursor(row=table.row_count - 1)


def _state(glance: Glance) -> str:
    """The state as the table calls it."""
    return "killed" if glance.status.gone and glance.status.state == "stale" else glance.status.state


def _text(glance: Glance) -> str:
    doing = glance.doing.word if glance.doing else None
    parts = (glance.run.label, _state(glance), doing, glance.status.phase, glance.why)
    return " ".join(part for part in parts if part).lower()
