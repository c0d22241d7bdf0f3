"""Examples of what was mined: the query, each pick with right or wrong, its rank at every stage, and their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from cprspec.tui.mining import Example, Pick
from cprspec.tui.text import fit
from cprspec.tui.widgets.strip import strip_text

_SIGNS = {True: ("✓ right", "green"), False: ("✗ wrong", "red"), None: ("? unknown", "dim")}


def examples_text(examples: Sequence[Example], strips: Path, width: int, rows: int) -> Text:
    """All examples, `width` cells wide; pictures are `rows` lines high, 0 leaves them out."""
    if not examples:
        return Text("no examples of this class in this epoch", style="dim")
    parts = []
    for example in examples:
        head = Text("query  ", style="bold").append_text(fit(example.name, max(10, width - 30), "bold"))
        head.append("  ").append_text(fit(example.label or "no label", 20))
        parts.append(_with_picture(head, example.strip, strips, width, rows))
        parts += [_with_picture(_pick_line(pick, width), pick.strip, strips, width, rows) for pick in example.picks]
        parts.append(Text())
    return Text("\n").join(parts)


def _pick_line(pick: Pick, width: int) -> Text:
    word, style = _SIGNS[pick.right]
    text = Text(f"{(pick.rank or 0) + 1:>3}  ").append(f"{word:<10}", style=style)
    stages = " ".join("·" if rank is None else str(rank) for rank in pick.stages)
    label, at = fit(pick.label or "no label", 20), f"  at stages {stages}" if stages else ""
    text.append_text(fit(pick.name, max(10, width - text.cell_len - 2 - label.cell_len - len(at))))
    return text.append("  ").append_text(label).append(at, style="dim")


def _with_picture(line: Text, strip: str | None, folder: Path, width: int, rows: int) -> Text:
    if strip is None or rows < 1:
        return line
    return line.append("\n").append_text(strip_text(folder, strip, width - 2, rows))
