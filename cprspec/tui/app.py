"""The monitor: panes over one source of news. What is read comes from another thread, at most twice a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import DataTable
from textual.worker import get_current_worker

from cprspec.errors import CprspecError, clean
from cprspec.runs.layout import RunDir
from cprspec.runs.stop import check_stoppable, request_stop
from cprspec.tui.screens.compare import CompareScreen
from cprspec.tui.screens.examples import ExamplesScreen
from cprspec.tui.screens.experiment import ExperimentScreen
from cprspec.tui.screens.help import HelpScreen
from cprspec.tui.screens.log import LogScreen
from cprspec.tui.screens.mining import MiningScreen
from cprspec.tui.screens.pane import Pane
from cprspec.tui.screens.run import RunScreen
from cprspec.tui.screens.runs import RunsScreen
from cprspec.tui.screens.stop import StopScreen
from cprspec.tui.source import News, Source
from cprspec.tui.widgets.title import PANES

PERIOD_S = 1.0
"""Between two rounds of reading, and so between two redraws, unless there is more to read at once."""

HURRY_S = 0.5


class MonitorApp(App[None]):
    """Runs below a folder. `watched` is the one that panes show, `marked` are those beside it."""

    TITLE = "cprspec"
    CSS_PATH = "app.tcss"
    MODES: ClassVar[dict[str, type[Pane]]] = {  # type: ignore[assignment]
        pane.NAME: pane for pane in (RunsScreen, RunScreen, MiningScreen, CompareScreen, ExperimentScreen, LogScreen)
    }
    DEFAULT_MODE = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i), f"pane('{name}')", name.capitalize(), show=False) for i, name in enumerate(PANES, start=1)),
        Binding("X", "stop", "Stop run"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("ctrl+p", "command_palette", "Commands", show=False, priority=True),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, runs: Path, watched: RunDir | None = None) -> None:
        super().__init__()
        self.source = Source(runs)
        self.news = News()
        self.has_news = False
        self.watched = watched
        self.marked: dict[RunDir, None] = {}
        self.notice = ""
        """What the list says beside its runs."""
        self._reading = False
        self._hurry = False

    def on_mount(self) -> None:
        if self.watched is not None:
            self.switch_mode("run")
        self._read()
        self.set_interval(PERIOD_S, self._read)

    def _read(self) -> None:
        """Begin a round of reading, unless one is under way."""
        if not self._reading:
            self._reading = True
            self.run_worker(self._round, thread=True, group="reading", exit_on_error=True)

    def _round(self) -> None:
        worker = get_current_worker()
        news = self.source.read(self.watched, list(self.marked))
        if not worker.is_cancelled:
            self.call_from_thread(self._took, news)

    def _took(self, news: News) -> None:
        if not self.is_running:  # it is being left, and its screens are taken apart
            return
        self.news, self.has_news, self._reading = news, True, False
        if self.watched is None and news.glances:
            self.watched = news.glances[0].run
        if isinstance(self.screen, Pane):
            self.screen.news()
        if news.more:
            self.set_timer(HURRY_S, self._read)

    def open_run(self, run: RunDir) -> None:
        """Show `run` in the panes."""
        self.watched = run
        self.switch_mode("run")
        self._read()

    def toggle_mark(self, run: RunDir) -> None:
        """Mark `run`, or unmark it."""
        if run in self.marked:
            del self.marked[run]
        else:
            self.marked[run] = None
        self._read()
        if isinstance(self.screen, Pane):
            self.screen.news()

    def action_pane(self, name: str) -> None:
        """Show the pane called `name`, of the run under the cursor if it comes from the list."""
        if isinstance(self.screen, Pane):
            self.watched = self.screen.target or self.watched
            self.switch_mode(name)
            self._read()

    def action_help(self) -> None:
        """The keys of this pane and what the figures mean."""
        here = self.screen
        if isinstance(here, Pane):
            table = self.focused.BINDINGS if isinstance(self.focused, DataTable) else []
            own = [*table, *here.BINDINGS, *Pane.BINDINGS]
            self.push_screen(HelpScreen([(here.NAME.capitalize(), own), ("Everywhere", self.BINDINGS)]))
        elif isinstance(here, ExamplesScreen):
            self.push_screen(HelpScreen([("Examples", here.BINDINGS)]))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Over the examples, which cover a pane, no run is stopped, and the pane below does not change."""
        covered = isinstance(self.screen, ExamplesScreen)
        return False if covered and action in {"stop", "pane"} else super().check_action(action, parameters)

    def action_stop(self) -> None:
        """Ask the run that is looked at to stop after its step, if that is really meant."""
        run = self.screen.target if isinstance(self.screen, Pane) else None
        if run is None:
            return

        def answered(yes: bool | None) -> None:
            if yes and self._tell_refusal(lambda: request_stop(run)):
                self.notify(clean(f"asked {run.label} to stop after its step"), markup=False)

        if self._tell_refusal(lambda: check_stoppable(run)):
            self.push_screen(StopScreen(run), answered)

    def _tell_refusal(self, act: Callable[[], None]) -> bool:
        """Whether `act` is done; where it is refused, the reason is shown."""
        try:
            act()
        except CprspecError as error:
            self.notify(clean(str(error)), severity="error", markup=False)
            return False
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that a key does here, and the themes."""
        told: set[str] = set()
        own = (*self.BINDINGS, *Pane.BINDINGS, *(screen.BINDINGS if isinstance(screen, Pane) else ()))
        keys = {binding.action for binding in own if isinstance(binding, Binding)}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.action not in keys or binding.action == "command_palette" or binding.action in told:
                continue
            told.add(binding.action)

            async def act(action: str = binding.action, node: DOMNode = active.node) -> None:
                await self.run_action(action, node)

            yield SystemCommand(binding.description, f"key {binding.key_display or binding.key}", act)
        yield SystemCommand("Theme", "change the colours; there are dark and light ones", self.action_change_theme)
