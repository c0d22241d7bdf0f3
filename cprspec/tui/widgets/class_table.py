"""The classes of an epoch: recall as a bar and a figure, its changes; classes of which everything was found are bold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from cprspec.tui.mining import ClassRow
from cprspec.tui.text import NOTHING, bar, fit, percent

SORTS = ("name", "cmr", "change", "difference", "precision")
_HEADS = {"name": "class", "cmr": "CMR %", "change": "since", "difference": "vs other", "precision": "right %"}
_BAR = 12
_WIDTHS = {"cmr": _BAR + 8, "change": 9, "difference": 10, "precision": 9, "found": 9, "random": 8}
_LEAST_NAME = 16


class ClassTable(DataTable[Text]):
    """Rows are classes. The cursor stays on its class."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Examples", key_display="Enter")]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=0)
        self.rows_shown: list[ClassRow] = []
        self._drawn: object = None
        self._order: tuple[str, bool] = ("name", False)

    @property
    def chosen(self) -> str | None:
        """The class under the cursor."""
        return self.rows_shown[self.cursor_row].name if 0 <= self.cursor_row < len(self.rows_shown) else None

    def show(self, rows: Sequence[ClassRow], sort: str, backwards: bool, *, other: str | None, width: int) -> None:
        """Draw `rows` in their order; `other`: the letter of the run they are compared with."""
        now = (tuple(rows), sort, backwards, other, width)
        if now == self._drawn:
            return
        chosen, offset, sorted_anew = self.chosen, self.scroll_offset, (sort, backwards) != self._order
        self._drawn, self._order, self.rows_shown = now, (sort, backwards), list(rows)
        columns = ["cmr", "change", "difference", "precision", "found", "random"]
        if other is None:
            columns.remove("difference")
        while columns[1:] and width - 2 - sum(_WIDTHS[name] for name in columns) < _LEAST_NAME:
            columns.pop()
        name_width = max(_LEAST_NAME, min(40, width - 2 - sum(_WIDTHS[name] for name in columns)))
        self.clear(columns=True)
        for name in ("name", *columns):
            arrow = (" ▼" if backwards else " ▲") if name == sort else ""
            head = {"difference": f"vs {other}", "found": "found", "random": "random"}.get(name) or _HEADS[name]
            self.add_column(f"{head}{arrow}", width=_WIDTHS.get(name, name_width), key=name)
        for row in rows:
            style = "bold" if row.perfect else ""
            label = fit(row.name, name_width - 3, style).append(" ✓" if row.perfect else "", style=style)
            self.add_row(label, *(_cell(row, column) for column in columns))
        names = [row.name for row in rows]
        if chosen in names:
            self.move_cursor(row=names.index(chosen), scroll=sorted_anew)
            if not sorted_anew:
                self.scroll_to(*offset, animate=False)


def _cell(row: ClassRow, column: str) -> Text:
    match column:
        case "cmr":
            text = Text(f"{percent(row.cmr):>5} ", style="bold" if row.perfect else "")
            return text.append(bar(row.cmr, _BAR), style="green" if row.perfect else "")
        case "change":
            return _signed(row.change)
        case "difference":
            return _signed(row.difference)
        case "precision":
            return Text(f"{percent(row.precision):>5}")
        case "found":
            return Text(f"{_or_nothing(row.covered)}/{_or_nothing(row.of)}")
        case _:
            return Text(f"{percent(row.random):>5}", style="dim")


def _signed(value: float | None) -> Text:
    """A difference of shares with its sign, and an arrow that needs no colour."""
    if value is None:
        return Text(f"{NOTHING:>6}", style="dim")
    if abs(value) < 5e-5:
        return Text("   0.0", style="dim")
    return Text(f"{100 * value:+6.1f} {'▲' if value > 0 else '▼'}", style="green" if value > 0 else "red")


def _or_nothing(value: int | None) -> str:
    return NOTHING if value is None else str(value)
