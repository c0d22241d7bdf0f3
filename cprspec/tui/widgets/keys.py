"""The last line of every pane: its keys, as many as have room, and always those that stop a run, help, and quit."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

ALWAYS = ("stop", "help", "quit")
"""Actions whose keys are shown in any width: who sees none of the others still finds them all by `?`."""


class Keys(Footer):
    """A footer that leaves out a pane's later keys where the terminal is narrow, instead of cutting off the last ones."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._width = 0

    def compose(self) -> ComposeResult:
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        last = [key for key in keys if key.action.removeprefix("app.") in ALWAYS]
        room = self.app.size.width - sum(map(_width, last))
        for key in keys:
            if key not in last and room >= _width(key):
                room -= _width(key)
                yield key
        yield from last

    def on_resize(self, event: events.Resize) -> None:
        """Choose again for another width."""
        if event.size.width != self._width:
            self._width = event.size.width
            self.call_after_refresh(self.recompose)


def _width(key: FooterKey) -> int:
    return len(key.key_display) + len(key.description) + 3
