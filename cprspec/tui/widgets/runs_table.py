"""The table of runs: as many columns as the terminal has room for, sorted by any of them, the marked ones starred."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from attrs import frozen
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from cprspec.runs.glance import Glance
from cprspec.runs.layout import RunDir
from cprspec.runs.telling import duration
from cprspec.runs.watch import preparing_words
from cprspec.tui.text import NOTHING, figure, percent, plain, short_name, sparkline, state_text

_SPARK = 10
_SHORTEST_NAME = 20
_LONGEST_NAME = 60
_PADDING = 1


@frozen
class Column:
    """A column: its cell, what it is sorted by (None last), its width, and how soon it gives way (0: never)."""

    name: str
    width: int
    spare: int
    cell: Callable[[Glance], Text | str]
    key: Callable[[Glance], Any]


def _place(glance: Glance) -> Text:
    if glance.evaluation is not None:
        return plain(f"eval {glance.evaluation.name}", 40)
    if glance.status.preparing is not None:
        return plain(f"videos {preparing_words(glance.status.preparing)}", 40)
    number = "" if glance.place is None or glance.phase is None else f"{glance.place + 1}/{glance.phase.of} "
    return plain(f"{number}{glance.status.phase or NOTHING}", 40)


def _epoch(glance: Glance) -> str:
    if glance.epochs_done is None:
        return NOTHING
    return f"{glance.epochs_done}/{glance.phase.epochs}" if glance.phase else str(glance.epochs_done)


def _loss(glance: Glance) -> float | None:
    return glance.step.loss if glance.step else None


def _speed(glance: Glance) -> float | None:
    return glance.step.clips_per_s if glance.step and glance.left_s is not None else None


COLUMNS = (
    Column("state", 15, 0, state_text, lambda g: g.status.state),
    Column("phase", 14, 1, _place, lambda g: g.place),
    Column("epoch", 8, 2, _epoch, lambda g: g.epochs_done),
    Column("step", 7, 9, lambda g: NOTHING if g.status.step is None else str(g.status.step), lambda g: g.status.step),
    Column("clips/s", 7, 8, lambda g: NOTHING if (v := _speed(g)) is None else f"{v:.0f}", _speed),
    Column("left", 11, 5, lambda g: NOTHING if g.left_s is None else duration(g.left_s), lambda g: g.left_s),
    Column("loss", 8, 4, lambda g: figure(_loss(g)), _loss),
    Column("curve", _SPARK, 7, lambda g: sparkline(g.losses, _SPARK), lambda g: len(g.losses)),
    Column("CMR", 6, 3, lambda g: percent(g.median_cmr), lambda g: g.median_cmr),
    Column("R@1", 6, 3, lambda g: percent(g.recall_1), lambda g: g.recall_1),
    Column("why", 30, 10, lambda g: plain(g.why or "", 100), lambda g: g.why),
)
BY_NAME = {column.name: column for column in COLUMNS}
SORTS = ("run", *BY_NAME)
"""What the table can be sorted by; `run` is by time, newest first."""


class RunsTable(DataTable[Text | str]):
    """Rows are runs. The cursor stays on its run when others come and go."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Open", key_display="Enter")]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=0)
        self._shown: list[RunDir] = []
        self._cells: dict[RunDir, tuple[str, ...]] = {}
        self._drawn: dict[RunDir, tuple[Glance, bool]] = {}
        """What each row was made from: a list of a thousand runs makes only those again that changed."""
        self._columns: tuple[tuple[str, ...], int] = ((), 0)
        self._head: tuple[str, bool] = ("run", False)

    @property
    def chosen(self) -> RunDir | None:
        """The run under the cursor."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    def show(self, glances: Sequence[Glance], marked: Collection[RunDir], sort: str, backwards: bool) -> None:
        """Draw `glances`, which come newest first."""
        names, name_width = _fitting(self.app.size.width)
        rows = _sorted(glances, sort, backwards)
        order = [glance.run for glance in rows]
        if (names, name_width) != self._columns or order != self._shown or self._head != (sort, backwards):
            self._rebuild(rows, marked, names, name_width, (sort, backwards))
            return
        for row, glance in enumerate(rows):
            last, was_marked = self._drawn[glance.run]
            if last is glance and was_marked == (glance.run in marked):
                continue
            cells = self._make(glance, marked, names, name_width)
            now = tuple(map(str, cells))
            before = self._cells[glance.run]
            if now != before:
                self._cells[glance.run] = now
                for column, cell in enumerate(cells):
                    if now[column] != before[column]:
                        self.update_cell_at(Coordinate(row, column), cell)

    def _rebuild(
        self, rows: Sequence[Glance], marked: Collection[RunDir], names: tuple[str, ...], name_width: int,
        head: tuple[str, bool],
    ) -> None:  # fmt: skip
        chosen, offset, sorted_anew = self.chosen, self.scroll_offset, head != self._head
        self.clear(columns=True)
        self._columns, self._head = (names, name_width), head
        self.add_column("*", width=1 + _PADDING, key="*")
        for name in ("run", *names):
            arrow = (" ▲" if head[1] else " ▼") if name == head[0] else ""
            width = name_width if name == "run" else BY_NAME[name].width
            self.add_column(f"{name}{arrow}", width=width + _PADDING, key=name)
        self._shown = [glance.run for glance in rows]
        self._cells, self._drawn = {}, {}
        for glance in rows:
            cells = self._make(glance, marked, names, name_width)
            self._cells[glance.run] = tuple(map(str, cells))
            self.add_row(*cells)
        if chosen in self._shown:
            self.move_cursor(row=self._shown.index(chosen), scroll=sorted_anew)
            if not sorted_anew:
                self.scroll_to(*offset, animate=False)

    def _make(self, glance: Glance, marked: Collection[RunDir], names: Sequence[str], width: int) -> list[Text | str]:
        self._drawn[glance.run] = glance, glance.run in marked
        return _cells(glance, marked, names, width)


def _fitting(width: int) -> tuple[tuple[str, ...], int]:
    """The columns that have room beside a name that can be read, and the width of the name."""
    kept = list(COLUMNS)
    room = width - 1 - 2 * _PADDING - 2  # the star, its space and the name's, a scroll bar

    def rest() -> int:
        return room - sum(column.width + _PADDING for column in kept)

    while kept and rest() < _SHORTEST_NAME and (spare := max(column.spare for column in kept)) > 0:
        kept.remove(next(column for column in reversed(kept) if column.spare == spare))
    return tuple(column.name for column in kept), max(_SHORTEST_NAME, min(_LONGEST_NAME, rest()))


def _sorted(glances: Sequence[Glance], sort: str, backwards: bool) -> list[Glance]:
    if sort == "run":
        return list(reversed(glances)) if backwards else list(glances)
    key = BY_NAME[sort].key
    known = [glance for glance in glances if key(glance) is not None]
    unknown = [glance for glance in glances if key(glance) is None]
    largest_first = not isinstance(next(map(key, known), 0), str)
    return sorted(known, key=key, reverse=largest_first != backwards) + unknown


def _cells(glance: Glance, marked: Collection[RunDir], names: Sequence[str], name_width: int) -> list[Text | str]:
    star = Text("*" if glance.run in marked else " ", style="bold")
    cells: list[Text | str] = [star, short_name(glance.run, name_width)]
    for name in names:
        cell = BY_NAME[name].cell(glance)
        cells.append(Text(cell) if isinstance(cell, str) else cell)
    return cells
