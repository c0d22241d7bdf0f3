"""What one epoch mined: every class with its recall, the funnel, and examples of the class under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from attrs import frozen
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import DataTable

from cprspec.runs.groups import letter
from cprspec.runs.layout import RunDir
from cprspec.runs.tables import last_table, read_table, table_epochs
from cprspec.tui.mining import Table, Unit, class_rows, epoch_line, examples, funnel, sort_rows
from cprspec.tui.screens.examples import ExamplesScreen
from cprspec.tui.screens.pane import Pane
from cprspec.tui.screens.run import phase_names
from cprspec.tui.text import fit, plain, short_name
from cprspec.tui.widgets.class_table import SORTS, ClassTable
from cprspec.tui.widgets.examples import examples_text
from cprspec.tui.widgets.funnel import Funnel
from cprspec.tui.widgets.line import Line

WIDE = 140
"""Columns from which on the funnel and the examples stand beside the classes instead of below."""


@frozen
class _Shown:
    """Which table is on the screen."""

    run: RunDir
    phase: str
    epoch: int


class MiningScreen(Pane):
    """The mining tables of the watched run."""

    NAME = "mining"
    AUTO_FOCUS = "ClassTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back", show=False),
        Binding("r", "reverse", "Reverse", show=False),
        Binding("comma,left", "epoch(-1)", "Epoch", key_display=", ."),
        Binding("full_stop,right", "epoch(1)", "Later epoch", show=False),
        Binding("right_square_bracket", "phase(1)", "Phase", key_display="[ ]"),
        Binding("left_square_bracket", "phase(-1)", "Previous phase", show=False),
        Binding("u", "unit", "Sources/videos"),
        Binding("f", "follow", "Latest"),
        Binding("d", "other", "Other run"),
        Binding("g,home", "first", "First", show=False),
        Binding("G,end", "last", "Last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._sort, self._backwards = "name", False
        self._unit: Unit = "source"
        self._phase: str | None = None
        self._epoch: int | None = None
        """Chosen ones; None: the last there is."""
        self._other = 0
        self._cached: tuple[object, tuple[Table | None, Table | None]] | None = None
        self._shown: _Shown | None = None
        self._table: Table | None = None

    def body(self) -> ComposeResult:
        yield Line(id="mining-head")
        with Container(id="mining"):
            yield ClassTable()
            with VerticalScroll(id="mining-side", can_focus=False):
                yield Funnel()
                yield Line(id="examples")

    def show(self) -> None:
        wide = self.app.size.width >= WIDE
        self.query_one("#mining").set_class(wide, "wide")
        self._table, self._shown = None, self._choose()
        if self._shown is None:
            self.query_one("#mining").display = False
            return
        self._table, before = self._read(self._shown)
        self.query_one("#mining").display = self._table is not None
        if self._table is None:
            self.query_one("#mining-head", Line).say(Text("! the mining table cannot be read"))
            return
        run, other = self._other_table(self._shown)
        rows = sort_rows(class_rows(self._table, before, other, self._unit), self._sort, self._backwards)
        self._head(self._shown, run)
        width = self.app.size.width * 55 // 100 if wide else self.app.size.width
        self.query_one(ClassTable).show(
            rows, self._sort, self._backwards, other="B" if other else None, width=width - 1
        )
        side = self.app.size.width - width if wide else self.app.size.width
        self.query_one(Funnel).show(funnel(self._table), side - 3)
        self._examples(side - 3)

    def _choose(self) -> _Shown | None:
        """The table to show; says why where there is none."""
        watched = self.monitor.watched
        head = self.query_one("#mining-head", Line)
        glance = self.monitor.news.glance(watched)
        if watched is None or glance is None:
            head.say("no run is chosen: 1 shows the runs, Enter opens one")
            return None
        phases = self._phases(watched)
        if not phases:
            head.say("nothing mined yet: no phase of this run has a mining table")
            return None
        phase = self._phase if self._phase in phases else phases[-1]
        epochs = table_epochs(watched, phase)
        epoch = self._epoch if self._epoch in epochs else epochs[-1]
        return _Shown(watched, phase, epoch)

    def _phases(self, run: RunDir) -> list[str]:
        """The phases that have mined, in order."""
        glance = self.monitor.news.glance(run)
        names = phase_names(glance, self.monitor.source.history(run)) if glance else []
        return [name for name in names if table_epochs(run, name)]

    def _read(self, shown: _Shown) -> tuple[Table | None, Table | None]:
        """The table and that of the epoch before; read once, as a table never changes."""
        if self._cached is None or self._cached[0] != shown:
            epochs = table_epochs(shown.run, shown.phase)
            earlier = [epoch for epoch in epochs if epoch < shown.epoch]
            table = read_table(shown.run, shown.phase, shown.epoch, [])
            before = read_table(shown.run, shown.phase, earlier[-1], []) if earlier else None
            self._cached = (shown, (table, before))
        return self._cached[1]

    def _other_table(self, shown: _Shown) -> tuple[RunDir | None, Table | None]:
        """The marked run to compare with, and its table of the same epoch, else its last one of that phase."""
        others = [run for run in self.monitor.marked if run != shown.run]
        if not others or self._other % (len(others) + 1) == len(others):
            return None, None
        run = others[self._other % (len(others) + 1)]
        table = read_table(run, shown.phase, shown.epoch, []) if shown.epoch in table_epochs(run, shown.phase) else None
        table = table or last_table(run, shown.phase, [])
        return (run, table) if table else (None, None)

    def _head(self, shown: _Shown, other: RunDir | None) -> None:
        assert self._table is not None
        epochs = table_epochs(shown.run, shown.phase)
        text = fit(shown.phase, 30, "bold").append(f" epoch {shown.epoch}", style="bold")
        text.append(f" of {epochs[0]}..{epochs[-1]}, by {self._unit}: ")
        text.append_text(plain(epoch_line(self._table, self._unit)))
        if other is not None:
            text.append(f"\n{letter(1)} ", style="bold").append_text(short_name(other, 50))
        self.query_one("#mining-head", Line).say(text)

    def _examples(self, width: int) -> None:
        """Those of the class under the cursor; below the classes there is room for words only."""
        chosen = self.query_one(ClassTable).chosen
        if self._table is None or self._shown is None or chosen is None:
            return
        found = examples(self._table, chosen)
        rows = 5 if self.query_one("#mining").has_class("wide") else 0
        text = fit(chosen, 40, "bold").append("  (Enter: all, with pictures)\n", style="dim")
        self.query_one("#examples", Line).say(
            text.append_text(examples_text(found, self._strips(self._shown), width, rows))
        )

    def _strips(self, shown: _Shown) -> Path:
        return shown.run.mining(shown.phase) / "strips"

    @on(DataTable.RowHighlighted)
    def _highlighted(self) -> None:
        wide = self.query_one("#mining").has_class("wide")
        self._examples((self.app.size.width * 45 // 100 if wide else self.app.size.width) - 3)

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        chosen = self.query_one(ClassTable).chosen
        if self._table is None or self._shown is None or chosen is None:
            return
        title = f"{self._shown.phase}, epoch {self._shown.epoch}"
        names = [row.name for row in self.query_one(ClassTable).rows_shown]
        self.app.push_screen(ExamplesScreen(self._table, self._strips(self._shown), names, chosen, title))

    @on(DataTable.HeaderSelected)
    def _sort_by(self, event: DataTable.HeaderSelected) -> None:
        name = str(event.column_key.value)
        if name in SORTS:
            self._backwards = not self._backwards if name == self._sort else False
            self._sort = name
            self.show()

    def action_sort(self, by: int) -> None:
        """Sort by the next column."""
        self._sort, self._backwards = _next(SORTS, self._sort, by), False
        self.show()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._backwards = not self._backwards
        self.show()

    def action_unit(self) -> None:
        """Recall over sources, or over videos."""
        self._unit = "video" if self._unit == "source" else "source"
        self.show()

    def action_epoch(self, by: int) -> None:
        """Another epoch, and stay there."""
        if self._shown is not None:
            epochs = table_epochs(self._shown.run, self._shown.phase)
            at = epochs.index(self._shown.epoch) if self._shown.epoch in epochs else len(epochs) - 1
            self._epoch = epochs[max(0, min(len(epochs) - 1, at + by))]
            self.show()

    def action_phase(self, by: int) -> None:
        """Another phase that mined, and its last epoch."""
        if self._shown is not None:
            phases = self._phases(self._shown.run)
            self._phase, self._epoch = _next(phases, self._shown.phase, by), None
            self.show()

    def action_follow(self) -> None:
        """The last epoch of the last phase that mined, whichever it is."""
        self._phase = self._epoch = None
        self.show()

    def action_other(self) -> None:
        """The next marked run to compare with, or none."""
        self._other += 1
        self.show()

    def action_first(self) -> None:
        """To the first class."""
        self.query_one(ClassTable).move_cursor(row=0)

    def action_last(self) -> None:
        """To the last class."""
        table = self.query_one(ClassTable)
        table.move_cursor(row=table.row_count - 1)


def _next(names: Sequence[str], here: str, by: int) -> str:
    return names[(names.index(here) + by) % len(names)] if here in names else names[0]
