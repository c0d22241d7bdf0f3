"""What every pane shares: the title line, the footer with the keys, and news from the reading thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from cprspec.runs.layout import RunDir
from cprspec.tui.widgets.keys import Keys
from cprspec.tui.widgets.title import Title

if TYPE_CHECKING:
    from cprspec.tui.app import MonitorApp


class Pane(Screen[None]):
    """A pane: `body` is what it shows, `show` draws the news. Escape leads back to the runs."""

    NAME: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False)]

    @property
    def monitor(self) -> MonitorApp:
        """The application, which knows the runs."""
        return cast("MonitorApp", self.app)

    @property
    def target(self) -> RunDir | None:
        """The run that commands here are about."""
        return self.monitor.watched

    def compose(self) -> ComposeResult:
        yield Title(self.NAME)
        yield from self.body()
        yield Keys()

    def body(self) -> ComposeResult:
        """The widgets between title and footer."""
        yield from ()

    def news(self) -> None:
        """Draw everything that the application knows now."""
        if not (self.is_mounted and self.app.is_running):  # or it is being taken apart
            return
        self.show()
        self.show_title()

    def show_title(self) -> None:
        """Draw the first line, about the run that commands here are about."""
        self.query_one(Title).show(self.monitor.news.glance(self.target), len(self.monitor.marked))

    def show(self) -> None:
        """Draw the body."""

    def action_back(self) -> None:
        """To the runs."""
        self.app.switch_mode("runs")

    def on_screen_resume(self) -> None:
        self.news()

    def on_resize(self) -> None:
        self.news()
