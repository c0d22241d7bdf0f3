"""Asks whether a run shall really stop."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from cprspec.runs.layout import RunDir
from cprspec.tui.text import plain


class StopScreen(ModalScreen[bool]):
    """Yes or no; anything else is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Stop it"),
        Binding("n,escape,q", "answer(False)", "Let it run"),
    ]

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run_dir = run

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static("Stop this run after its step?", markup=False)
            yield Static(plain(self._run_dir.label), markup=False)
            yield Static("Everything is saved; `cprspec run` continues it.", markup=False)
            yield Static("y  stop it     n  let it run", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)
