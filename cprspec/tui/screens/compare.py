"""The watched run and the marked ones side by side, as `cprspec compare` puts them."""

from __future__ import annotations

import io
from typing import ClassVar

from rich.console import Console
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.worker import get_current_worker

from cprspec.runs.compare import compare
from cprspec.runs.compare_tables import print_comparison
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import summarise
from cprspec.tui.screens.pane import Pane
from cprspec.tui.text import plain
from cprspec.tui.widgets.line import Line


class CompareScreen(Pane):
    """Tables of the comparison; read again when the marks change, and on demand."""

    NAME = "compare"
    AUTO_FOCUS = "#comparison"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "again", "Compare again"),
        Binding("g,home", "first", "Top"),
        Binding("G,end", "last", "End", key_display="G"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._compared: tuple[tuple[RunDir, ...], int] | None = None

    def body(self) -> ComposeResult:
        with VerticalScroll(id="comparison"):
            yield Line(id="tables")

    def show(self) -> None:
        both = dict.fromkeys([self.monitor.watched, *self.monitor.marked])
        runs = tuple(run for run in both if run is not None)
        width = max(40, self.app.size.width - 3)
        if not runs:
            self.query_one("#tables", Line).say("no runs: mark some with m in the list (1)")
        elif (runs, width) != self._compared:
            self._compared = (runs, width)
            self.query_one("#tables", Line).say(f"comparing {len(runs)} run(s) ...")
            self.run_worker(lambda: self._compare(runs, width), thread=True, exclusive=True, group="comparing")

    def _compare(self, runs: tuple[RunDir, ...], width: int) -> None:
        worker = get_current_worker()
        text = comparison_text(runs, width)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._compared_to, text)

    def _compared_to(self, text: Text) -> None:
        if self.app.is_running:  # and not being left, its screens taken apart
            self.query_one("#tables", Line).update(text)

    def action_again(self) -> None:
        """Read the runs again."""
        self._compared = None
        self.show()

    def action_first(self) -> None:
        """To the top."""
        self.query_one("#comparison").scroll_home(animate=False)

    def action_last(self) -> None:
        """To the end."""
        self.query_one("#comparison").scroll_end(animate=False)


def comparison_text(runs: tuple[RunDir, ...], width: int) -> Text:
    """The tables that `cprspec compare` prints, `width` cells wide."""
    comparison = compare([summarise(run) for run in runs])
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", highlight=False)
    with console.capture() as capture:
        print_comparison(comparison, console)
    text = Text.from_ansi(capture.get())
    if len(runs) == 1:
        text = Text("Mark more runs in the list (m) to put them beside this one.\n\n", style="dim").append_text(text)
    for problem in comparison.problems:
        text.append("\n! ").append_text(plain(problem))
    return text
