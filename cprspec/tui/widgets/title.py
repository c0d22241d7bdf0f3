"""The first line of every pane: the panes by number, and which run is looked at."""

from __future__ import annotations

from rich.text import Text

from cprspec.runs.glance import Glance
from cprspec.tui.text import short_name, state_text
from cprspec.tui.widgets.line import Line

PANES = ("runs", "run", "mining", "compare", "experiment", "log")

_LETTERS = ((100, 20), (70, 3))
"""From how many columns on a pane is called by so many letters; below, by its number alone, so that the state has room."""


class Title(Line):
    """Panes, and the watched run with its state."""

    def __init__(self, pane: str) -> None:
        super().__init__()
        self._pane = pane

    def show(self, glance: Glance | None, marked: int) -> None:
        """Draw the line for the watched run."""
        text = Text(no_wrap=True, overflow="ellipsis")
        letters = next((most for width, most in _LETTERS if self.app.size.width >= width), 0)
        for number, name in enumerate(PANES, start=1):
            here = name == self._pane
            word = f" {name.capitalize()}" if here else f" {name[:letters].capitalize()}".rstrip()
            text.append(f" {number}{word} ", style="reverse bold" if here else "dim")
        text.append(" ")
        if glance is not None:
            state = state_text(glance)
            room = self.app.size.width - text.cell_len - state.cell_len - (10 if marked else 2)
            text.append_text(short_name(glance.run, max(8, room)))
            text.append(" ").append_text(state)
        if marked:
            text.append(f"  * {marked}")
        self.say(text)
