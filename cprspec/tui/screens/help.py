"""Every key and what the figures mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

WORDS = (
    (
        "CMR",
        "class mining recall: of a class's sources, the share that was mined rightly in an epoch; median over classes",
    ),
    ("precision", "of the mined clips, the share of the query's class"),
    ("own key", "how often a query finds its own other clip first among all keys"),
    ("spread", "standard deviation of the embeddings: 1 fills the sphere, 0 is one point (collapse)"),
    ("funnel", "what is left after each stage of the cascade, and how much of it is right"),
    ("stale", "the run says that it is running and has been silent for over 30 seconds"),
)


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below, those that work everywhere, and the words."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "app.pop_screen", "Close")]

    def __init__(self, groups: Iterable[tuple[str, Iterable[BindingType]]]) -> None:
        super().__init__()
        self._groups = [(title, list(bindings)) for title, bindings in groups]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(self._text(), markup=False)

    def _text(self) -> Text:
        text = Text()
        for title, bindings in self._groups:
            text.append(f"{title}\n", style="bold underline")
            for binding in bindings:
                if isinstance(binding, Binding):
                    keys = binding.key_display or binding.key.replace(",", " ")
                    text.append(f"  {_readable(keys):<16}", style="bold").append(f"{binding.description}\n")
            text.append("\n")
        text.append("Words\n", style="bold underline")
        for word, meaning in WORDS:
            text.append(f"  {word:<16}", style="bold").append(f"{meaning}\n")
        return text


def _readable(keys: str) -> str:
    names = {
        "question_mark": "?", "slash": "/", "left_square_bracket": "[", "right_square_bracket": "]", "plus": "+",
        "minus": "-", "equals_sign": "=", "comma": ",", "full_stop": ".",
    }  # fmt: skip
    return " ".join(names.get(key, key) for key in keys.split())
