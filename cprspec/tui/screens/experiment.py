"""The resolved experiment of the watched run; what the marked runs have otherwise stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from cprspec.errors import CprspecError
from cprspec.runs.groups import letter
from cprspec.runs.layout import RunDir
from cprspec.runs.reading import read_text, read_toml
from cprspec.tui.differences import Difference, differences
from cprspec.tui.screens.pane import Pane
from cprspec.tui.text import plain, short_name
from cprspec.tui.widgets.line import Line

_LONGEST = 160


class ExperimentScreen(Pane):
    """The TOML text, with a sign before each line that another run has otherwise."""

    NAME = "experiment"
    AUTO_FOCUS = "#experiment-text"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "only", "Differences only"),
        Binding("n", "next(1)", "Next difference"),
        Binding("p", "next(-1)", "Previous difference", show=False),
        Binding("g,home", "first", "Top", show=False),
        Binding("G,end", "last", "End", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._only = False
        self._drawn: object = None
        self._rows: list[int] = []
        """The rows of the screen's text that differ."""

    def body(self) -> ComposeResult:
        yield Line(id="experiment-head")
        with VerticalScroll(id="experiment-text"):
            yield Line(id="toml")

    def show(self) -> None:
        watched = self.monitor.watched
        if watched is None:
            self.query_one("#experiment-head", Line).say("no run is chosen: 1 shows the runs, Enter opens one")
            return
        others = tuple(run for run in self.monitor.marked if run != watched)
        now = (watched, others, self._only, watched.resolved.exists())
        if now != self._drawn:  # a resolved experiment never changes
            self._drawn = now
            self._draw(watched, others)

    def _draw(self, watched: RunDir, others: Sequence[RunDir]) -> None:
        problems: list[str] = []
        text = read_text(watched.resolved, problems) or ""
        found: list[Difference] = []
        try:
            tables: list[Mapping[str, Any]] = [read_toml(run.resolved, problems) for run in (watched, *others)]
            found = differences(text, tables[0], tables[1:]) if others else []
        except CprspecError as error:
            problems.append(str(error))
        self.query_one("#experiment-head", Line).say(self._head(watched, others, found, problems))
        self.query_one("#toml", Line).say(self._body(text, found))

    def _head(
        self, watched: RunDir, others: Sequence[RunDir], found: Sequence[Difference], problems: Sequence[str]
    ) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        if problems:
            return text.append("! ", style="bold yellow").append_text(plain(problems[0]))
        if not others:
            return text.append("Mark other runs in the list (m) to see what they have otherwise.", style="dim")
        text.append(f"{len(found)} keys differ from ")
        room = (self.app.size.width - text.cell_len) // len(others) - 4
        for number, run in enumerate(others, start=1):
            text.append(f"{letter(number)} ", style="bold").append_text(short_name(run, max(10, room))).append("  ")
        return text

    def _body(self, source: str, found: Sequence[Difference]) -> Text:
        """The lines, differing ones with what others have; keys that only others have come last."""
        by_line: dict[int, list[Difference]] = {}
        for one in found:
            by_line.setdefault(one.line or 0, []).append(one)
        rows: list[Text] = []
        self._rows = []
        for number, line in enumerate(source.splitlines(), start=1):
            differing = by_line.get(number, [])
            if self._only and not differing:
                continue
            if differing:
                self._rows.append(len(rows))
            table = ".".join(map(str, differing[0].path[:-1])) if differing else ""
            shown = f"{table}: " if self._only and table else ""
            rows.append(_row(f"{shown}{line}", differing))
        for one in by_line.get(0, []):
            self._rows.append(len(rows))
            rows.append(_row(".".join(map(str, one.path)) + " is absent", [one]))
        return Text("\n").join(rows) if rows else Text("nothing to show", style="dim")

    def action_only(self) -> None:
        """Only the lines that differ, or all."""
        self._only = not self._only
        self.show()

    def action_next(self, by: int) -> None:
        """Scroll to the next line that differs."""
        box = self.query_one("#experiment-text")
        here = round(box.scroll_y)
        later = [row for row in self._rows if (row > here if by > 0 else row < here)]
        if later:
            box.scroll_to(y=later[0] if by > 0 else later[-1], animate=False)

    def action_first(self) -> None:
        """To the top."""
        self.query_one("#experiment-text").scroll_home(animate=False)

    def action_last(self) -> None:
        """To the end."""
        self.query_one("#experiment-text").scroll_end(animate=False)


def _row(line: str, differing: Sequence[Difference]) -> Text:
    if not differing:
        return Text("  ").append_text(plain(line, _LONGEST, "bold" if line.startswith("[") else ""))
    text = Text("≠ ", style="bold yellow").append_text(plain(line, _LONGEST, "bold"))
    for one in differing:
        for number, value in enumerate(one.others, start=1):
            if value is not None:
                text.append(f"   {letter(number)}: ", style="bold").append_text(plain(value, 60, "yellow"))
    return text
