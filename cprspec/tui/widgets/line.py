"""Text without markup that is drawn again only when it changes: a layout of the whole screen hangs on it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class Line(Static):
    """One or a few lines of text; `say` replaces them."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(markup=False, id=id, classes=classes)
        self._said: Text | None = None

    def say(self, text: Text | str) -> None:
        """Show `text`, which has been cleaned."""
        now = Text(text) if isinstance(text, str) else text
        if now != self._said:
            grows = self._said is not None and self._said.plain.count("\n") != now.plain.count("\n")
            self._said = now
            self.update(now)
            if grows:  # said twice within one layout, the second height would be passed over
                self.call_after_refresh(self.refresh, layout=True)
