"""The examples of one class over the whole screen, with their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen

from cprspec.tui.mining import Table, examples
from cprspec.tui.text import fit
from cprspec.tui.widgets.examples import examples_text
from cprspec.tui.widgets.keys import Keys
from cprspec.tui.widgets.line import Line

ROWS = (0, 5, 8, 14)
"""Heights of a picture, in lines."""


class ExamplesScreen(Screen[None]):
    """Pushed over the mining pane; goes through the classes in the order of the table there."""

    AUTO_FOCUS = "#examples-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "turn(1)", "Next class", key_display="n"),
        Binding("p,left", "turn(-1)", "Previous class", key_display="p"),
        Binding("i", "size", "Picture size"),
        Binding("escape,q", "app.pop_screen", "Back", key_display="esc"),
    ]

    def __init__(self, table: Table, strips: Path, classes: Sequence[str], chosen: str, title: str) -> None:
        super().__init__()
        self._table, self._strips, self._names_shown, self._where = table, strips, list(classes), title
        self._place = self._names_shown.index(chosen) if chosen in self._names_shown else 0
        self._height = 1

    def compose(self) -> ComposeResult:
        yield Line(id="examples-head")
        with VerticalScroll(id="examples-scroll"):
            yield Line(id="examples")
        yield Keys()

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        name = self._names_shown[self._place]
        head = (
            Text(" ")
            .append_text(fit(name, 40, "bold"))
            .append(f"  class {self._place + 1} of {len(self._names_shown)}  ")
        )
        self.query_one("#examples-head", Line).say(head.append_text(fit(self._where, 60)))
        found = examples(self._table, name)
        text = examples_text(found, self._strips, self.app.size.width - 4, ROWS[self._height])
        self.query_one("#examples", Line).say(text)
        self.query_one("#examples-scroll").scroll_home(animate=False)

    def action_turn(self, by: int) -> None:
        """The next class of the table."""
        self._place = (self._place + by) % len(self._names_shown)
        self._draw()

    def action_size(self) -> None:
        """The next size of pictures, none among them."""
        self._height = (self._height + 1) % len(ROWS)
        self._draw()
