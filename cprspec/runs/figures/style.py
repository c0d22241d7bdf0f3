"""What all figures share: sizes, fonts, colours that the colour-blind and a grey printer can tell apart, and files.

Colours are those of Okabe and Ito ("Color Universal Design", 2008); hatches, markers and dashes tell the same things apart.
Text is never read as mathematics or markup. The same data give the same file, byte for byte, with the same matplotlib.
"""

from __future__ import annotations

import difflib
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.runs.files import atomic_write_bytes
from cprspec.runs.groups import Members

WIDTHS = {1: 3.3, 2: 6.9}
"""Inches that one and both columns of a paper are wide."""

FORMATS = ("pdf", "svg", "png")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#000000", "#56B4E9", "#D55E00", "#CC79A7", "#F0E442")
HATCHES = ("", "/////", ".....", "xxxxx")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")

SHADES = "Blues"
"""Of heat maps: darker is more, in grey as well."""

LONGEST_LABEL = 40
_DOTS_PER_INCH = 300
_NO_CHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
"""What XML does not allow and `clean` lets through."""

_RC: dict[Any, Any] = {
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 7,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib, so every machine has it
    "font.size": 7,
    "grid.color": "#d0d0d0",
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "pdf.fonttype": 42,  # whole outlines that every viewer and printer takes; 3 is refused by some publishers
    "savefig.dpi": _DOTS_PER_INCH,
    "svg.fonttype": "none",  # text stays text: it can be searched, edited and read aloud
    "svg.hashsalt": "cprspec",
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


def styled() -> AbstractContextManager[None]:
    """The settings within which a figure is made; they end with the context."""
    return style.context(["default", _RC])  # whatever a matplotlibrc says


def new_figure(columns: int, height: float) -> Figure:
    """An empty figure that fills so many columns of a paper, `height` inches high."""
    return Figure(figsize=(WIDTHS[columns], height), layout="constrained")


def to_bytes(figure: Figure, form: str) -> tuple[bytes, list[Problem]]:
    """The file of `figure` as `pdf`, `svg` or `png`, and warnings about signs that the font does not have."""
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
    stream = io.BytesIO()
    with styled(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(stream, format=form, metadata=dates)
    missing = sorted({found[1] for w in caught if (found := re.match(r"Glyph (\d+)", str(w.message)))}, key=int)
    if not missing:
        return stream.getvalue(), []
    signs = " ".join(clean(chr(int(number))) for number in missing[:20])
    return stream.getvalue(), [Problem(f"the figure's font has no sign for {signs}", warning=True)]


def save(figure: Figure, path: Path) -> list[Problem]:
    """Write `figure` to `path` in the form its ending names; warnings as `to_bytes`. CprspecError for another ending."""
    data, problems = to_bytes(figure, form_of(path))
    atomic_write_bytes(path, data)
    return problems


def form_of(path: Path) -> str:
    """`pdf`, `svg` or `png`, as the file's ending says. CprspecError for another."""
    form = path.suffix.lower().lstrip(".")
    if form not in FORMATS:
        message = f"a figure cannot be written as '{clean(path.name)}'"
        raise CprspecError(Problem(message, hint=f"end the name with .{', .'.join(FORMATS)}"))
    return form


def label(text: str, limit: int = LONGEST_LABEL) -> str:
    """A text from a file as a figure shows it: one line, nothing invisible, at most `limit` long."""
    return _NO_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", clean(text, limit))


def group_labels(groups: Sequence[Members]) -> list[str]:
    """What a legend calls each group: its experiment, with the letter where two have one name, and its seeds if several."""
    times = Counter(group.experiment for group in groups)
    labels = []
    for group in groups:
        name = label(group.experiment) + (f" {group.letter}" if times[group.experiment] > 1 else "")
        labels.append(f"{name} ({len(group.runs)} seeds)" if len(group.runs) > 1 else name)
    return labels


def legend_above(figure: Figure, shown: Sequence[Artist], columns: int) -> None:
    """One legend over the whole figure of what is `shown`, in as many columns as its names leave room for."""
    names = [str(artist.get_label()) for artist in shown]
    longest = max(len(name) for name in names) * 0.062 + 0.45  # inches: 7 pt letters, and the sign before them
    room = max(1, min(len(names), int(WIDTHS[columns] / longest)))
    figure.legend(shown, names, loc="outside upper center", ncols=room)


def ink_on(shade: float) -> str:
    """The colour of text on a cell of `SHADES`; `shade` from 0, white, to 1."""
    return "white" if shade > 0.55 else "black"


def nothing(what: str, hint: str | None = None) -> CprspecError:
    """The error of a figure whose runs do not have what it shows."""
    return CprspecError(Problem(what, hint=hint))


def unknown(what: str, word: str, known: Iterable[str]) -> CprspecError:
    """The error about a `word` that is none of the `known`."""
    candidates = list(known)
    near = difflib.get_close_matches(word[:MAX_ECHO], candidates, n=1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"choose from {', '.join(candidates)}"
        if candidates
        else "there are none"
    )
    return CprspecError(Problem(f"{what} '{clean(word, MAX_ECHO)}'", hint=hint))
