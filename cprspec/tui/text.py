"""Text on the screen. Everything that comes from a file passes `plain`: cleaned once, and never markup.

Signs stand beside every colour, so that nothing is said by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from cprspec.errors import clean
from cprspec.runs.glance import UNREAD, Glance
from cprspec.runs.layout import RunDir
from cprspec.runs.watch import status_line

MAX_TEXT = 300
NOTHING = "-"
_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SIGNS = {
    "running": ("▶", "green"), "finished": ("✓", "bold"), "stopped": ("■", "yellow"), "failed": ("✗", "red"),
    "stale": ("!", "yellow"), "starting": ("…", "green"), UNREAD: ("…", "dim"),
}  # fmt: skip


def plain(text: object, limit: int = MAX_TEXT, style: str = "") -> Text:
    """`text` from a file as text that is shown and not obeyed."""
    return Text(clean(str(text), limit), style=style, no_wrap=True, overflow="ellipsis")


def fit(text: object, width: int, style: str = "", *, end: int | None = None) -> Text:
    """`plain` cut in its middle to `width` cells, of which `end` are the text's end, so that both ends can be read."""
    safe = clean(str(text), MAX_TEXT)
    if cell_len(safe) > width:
        right = max(0, width // 2 - 1) if end is None else min(end, width // 2)
        left = max(1, width - 1 - right)
        safe = set_cell_size(safe, left).rstrip() + "…" + (safe[-right:] if right else "")
    return Text(safe, style=style, no_wrap=True, overflow="ellipsis")


def short_name(run: RunDir, width: int) -> Text:
    """A run in `width` cells: its label, or where that is too long the experiment and the last four digits."""
    return Text(_short_name(run, width), no_wrap=True, overflow="ellipsis")


@lru_cache(maxsize=8192)
def _short_name(run: RunDir, width: int) -> str:
    """Kept, since a list of a thousand runs asks every second and each answer looks links up on disk."""
    label = run.label
    return clean(label) if len(label) <= width else fit(f"{run.experiment_name} {run.run_id[-4:]}", width, end=5).plain


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent, without the sign."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.{digits}f}"


def figure(value: float | None) -> str:
    """A number in at most eight characters."""
    if value is None or math.isnan(value):
        return NOTHING
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:.1e}"


def lines_text(lines: Iterable[Text]) -> Text:
    """`lines` below each other, each cut at the edge instead of wrapped."""
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def state_text(glance: Glance) -> Text:
    """Sign and word of a state, with the age of a silence, or of what a run does beside training."""
    status = glance.status
    sign, style = _SIGNS.get(status.state, ("?", "magenta"))
    word = "reading" if status.state == UNREAD else clean(status_line(status), 16)
    word = glance.doing.word if glance.doing else word
    return Text(f"{sign} {word}", style=style, no_wrap=True, overflow="ellipsis")


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` as a row of at most `width` bars, each the mean of its share of them."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ""
    if len(known) > width:
        cuts = [round(i * len(known) / width) for i in range(width + 1)]
        known = [sum(known[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(known), max(known)
    scale = (len(_LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(_LEVELS[round((value - low) * scale)] for value in known)


def bar(share: float | None, width: int) -> str:
    """A bar of `width` cells of which `share` is filled, in eighths of a cell."""
    if share is None or math.isnan(share):
        return " " * width
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)
