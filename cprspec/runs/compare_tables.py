"""A comparison on the screen: tables that fit the terminal, in which no text is markup.

Runs are called by letters, explained once at the top, so that figures and not names fill the line. A table too wide for
the terminal leaves out the columns marked as least needed, and then shortens names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from attrs import evolve, frozen
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean
from cprspec.runs.comparison import Comparison, Figure, Group

NOTHING = "-"
_LONGEST_NAME = 40
_READABLE_NAME = 24
"""Spare columns are left out before names are cut below this."""

_SHORTEST_NAME = 8
_BETWEEN = 2
_SHARE = re.compile(r"r@\d+|map|precision|accuracy|top-?\d+|.*cmr.*", re.IGNORECASE)


@frozen
class Column:
    """A column: its header, its cells, and how soon it is left out (0: never, 1: first to stay, higher: sooner)."""

    header: str
    cells: tuple[str, ...]
    spare: int = 0
    name: bool = False
    """A name may be shortened; a figure never."""

    @property
    def width(self) -> int:
        """Cells of the terminal that its longest text takes."""
        return max(cell_len(text) for text in (self.header, *self.cells))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print every table of `comparison` that has rows."""
    for number, (title, columns) in enumerate(_tables(comparison)):
        if number:
            console.print()
        console.print(Text(clean(title), style="bold"), no_wrap=True, overflow="ellipsis")
        console.print(_table(_equal_rows_as_one(columns), console.width))


def _tables(comparison: Comparison) -> Iterator[tuple[str, list[Column]]]:
    """Title and columns of each table."""
    yield "Runs", _legend(comparison.groups)
    if comparison.mining:
        yield "Mining in the last epoch: picks that are right, CMR over classes (%)", _mining(comparison)
    yield from _results(comparison)
    if comparison.losses:
        yield "Training, last epoch", _losses(comparison)
    if comparison.classes:
        yield "Classes with the higher CMR", _classes(comparison)
    yield from _differing(comparison)
    if comparison.published:
        yield "Published numbers, and these runs' own", _published(comparison)


def _equal_rows_as_one(columns: list[Column]) -> list[Column]:
    """Rows that differ in nothing but the run's letter (the column without a header) become one with all letters."""
    letters = next((c for c in columns if not c.header), None)
    if letters is None or letters is columns[0]:
        return columns
    rows: dict[tuple[str, ...], list[str]] = {}
    for cells in zip(*(c.cells for c in columns), strict=True):
        rows.setdefault(tuple(x for x, c in zip(cells, columns, strict=True) if c is not letters), []).append(
            cells[columns.index(letters)]
        )
    others = [c for c in columns if c is not letters]
    merged = {id(c): tuple(key[i] for key in rows) for i, c in enumerate(others)}
    merged[id(letters)] = tuple(_span(found) for found in rows.values())
    return [evolve(c, cells=merged[id(c)]) for c in columns]


def _span(letters: list[str]) -> str:
    """`A`, `A B`, or `A-E` for three and more that follow each other."""
    follow = len(letters) > 2 and all(len(a) == 1 and ord(b) == ord(a) + 1 for a, b in pairwise(letters))
    return f"{letters[0]}-{letters[-1]}" if follow else " ".join(letters)


def _legend(groups: Sequence[Group]) -> list[Column]:
    return [
        Column("", tuple(group.letter for group in groups)),
        _names("experiment", [group.experiment for group in groups]),
        _names("seeds", [", ".join(_or_nothing(seed) for seed in group.seeds) for group in groups]),
        _names("state", [", ".join(dict.fromkeys(group.states)) for group in groups]),
        _names("runs", [", ".join(run.rpartition("/")[2] for run in group.runs) for group in groups]),
    ]


def _mining(comparison: Comparison) -> list[Column]:
    rows = comparison.mining
    metrics = {
        "precision": ("right", 0), "median_cmr": ("median", 0), "median_cmr_random": ("random", 0),
        "mean_cmr": ("mean", 1), "mean_cmr_random": ("random mean", 3), "perfect_classes": ("perfect", 2),
    }  # fmt: skip
    return [
        _names("phase", [row.phase for row in rows]),
        Column("unit", tuple(row.unit for row in rows)),
        Column("", tuple(row.group for row in rows)),
        *(
            Column(header, tuple(_figure(row.figures.get(metric), metric) for row in rows), spare)
            for metric, (header, spare) in metrics.items()
        ),
        Column("of", tuple(_or_nothing(row.classes) for row in rows), 2),
    ]


def _results(comparison: Comparison) -> Iterator[tuple[str, list[Column]]]:
    places = dict.fromkeys((row.dataset, row.split, row.protocol) for row in comparison.results)
    for dataset, split, protocol in places:
        rows = [r for r in comparison.results if (r.dataset, r.split, r.protocol) == (dataset, split, protocol)]
        metrics = list(dict.fromkeys(metric for row in rows for metric in row.figures))
        counts = ", ".join(str(n) for n in dict.fromkeys(row.n for row in rows) if n is not None)
        title = f"{protocol} on {dataset}, {split} split" + (f", {counts} items" if counts else "")
        share = " (%)" if all(_SHARE.fullmatch(metric) for metric in metrics) else ""
        yield (
            title + share,
            [
                _names("encoder", [row.encoder for row in rows]),
                Column("", tuple(row.group for row in rows)),
                *(
                    Column(metric, tuple(_figure(row.figures.get(metric), metric) for row in rows), _spare(metric))
                    for metric in metrics
                ),
            ],
        )


def _losses(comparison: Comparison) -> list[Column]:
    rows = comparison.losses
    return [
        _names("phase", [row.phase for row in rows]),
        Column("", tuple(row.group for row in rows)),
        Column("epochs", tuple("reused" if row.reused else f"{row.epochs_done} of {row.epochs}" for row in rows)),
        Column("loss", tuple(_figure(row.loss, "loss") for row in rows)),
        Column("own key %", tuple(_figure(row.own_key_accuracy, "accuracy") for row in rows), 1),
        Column("clips/s", tuple(_figure(row.clips_per_s, "speed", digits=0) for row in rows), 2),
    ]


def _classes(comparison: Comparison) -> list[Column]:
    rows = comparison.classes
    return [
        _names("phase", [row.phase for row in rows]),
        Column("unit", tuple(row.unit for row in rows)),
        Column("runs", tuple(f"{row.group} against {row.other}" for row in rows)),
        Column("won", tuple(str(row.won) for row in rows)),
        Column("tied", tuple(str(row.tied) for row in rows)),
        Column("lost", tuple(str(row.lost) for row in rows)),
    ]


def _differing(comparison: Comparison) -> Iterator[tuple[str, list[Column]]]:
    """For the first two groups only, in sources: the classes that differ most in each phase."""
    for row in comparison.classes:
        if row.other != comparison.groups[1].letter or row.unit != "source" or not row.differ_most:
            continue
        yield (
            f"Classes that differ most: {row.phase}, CMR over sources (%)",
            [
                _names("class", [name for name, _, _ in row.differ_most]),
                Column(row.group, tuple(_percent(mine) for _, mine, _ in row.differ_most)),
                Column(row.other, tuple(_percent(other) for _, _, other in row.differ_most)),
                Column("difference", tuple(f"{100 * (mine - other):+.1f}" for _, mine, other in row.differ_most)),
            ],
        )


def _published(comparison: Comparison) -> list[Column]:
    rows = comparison.published
    columns = [
        _names("metric", [row.metric for row in rows]),
        Column("published", tuple(_number(row.value, row.metric) for row in rows)),
    ]
    for group in comparison.groups:
        found = [row.found.get(group.letter) for row in rows]
        cells = [_figure(pair[1], row.metric) if pair else NOTHING for pair, row in zip(found, rows, strict=True)]
        columns.append(Column(group.letter, tuple(cells)))
        encoders = [pair[0] if pair else NOTHING for pair in found]
        columns.append(Column(f"{group.letter} by", _names("", encoders).cells, 2, name=True))
    return [*columns, _names("where", [row.where for row in rows])]


def _table(columns: Sequence[Column], width: int) -> Table:
    """A table of `columns` that fits `width`: names give way a little, then spare columns go, then names give way."""
    kept = list(columns)
    while _total(kept) > width and (spare := max(column.spare for column in kept)) > 0:
        del kept[max(i for i, column in enumerate(kept) if column.spare == spare)]
    limits = _limits(kept, width)
    # Each column is followed by one cell of padding and one of the box.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _BETWEEN - 1, 0, 0), pad_edge=False, show_edge=False)
    for column, limit in zip(kept, limits, strict=True):
        header = Text(clean(column.header, _LONGEST_NAME))
        justify = "left" if column.name or not column.header or column.header in {"unit", "runs"} else "right"
        table.add_column(header, justify=justify, no_wrap=True, overflow="ellipsis", max_width=limit)  # type: ignore[arg-type]
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*(Text(text) for text in row))
    return table


def _total(columns: Sequence[Column]) -> int:
    """Width with names cut to what can still be read."""
    widths = [min(column.width, _READABLE_NAME) if column.name else column.width for column in columns]
    return sum(widths) + _BETWEEN * len(columns)


def _limits(columns: Sequence[Column], width: int) -> list[int]:
    """Width of each column: figures whole; the widest name gives way, cell by cell, until the table fits."""
    limits = [column.width for column in columns]
    while sum(limits) + _BETWEEN * len(columns) > width:
        names = [i for i, column in enumerate(columns) if column.name and limits[i] > _SHORTEST_NAME]
        if not names:
            break
        limits[max(names, key=lambda i: limits[i])] -= 1
    return limits


def _names(header: str, texts: Sequence[str]) -> Column:
    return Column(header, tuple(clean(text, _LONGEST_NAME) for text in texts), name=True)


def _spare(metric: str) -> int:
    """Of the recalls, R@1 stays longest; mAP always stays."""
    found = re.fullmatch(r"R@(\d+)", metric)
    return 0 if not found or found[1] == "1" else int(found[1][:9])


def _figure(figure: Figure | None, metric: str, *, digits: int | None = None) -> str:
    if figure is None:
        return NOTHING
    if figure.std is not None and metric == "perfect_classes":
        digits = 1
    text = _number(figure.mean, metric, digits)
    return text if figure.std is None else f"{text}±{_number(figure.std, metric, digits)}"


def _number(value: float, metric: str, digits: int | None = None) -> str:
    if _SHARE.fullmatch(metric):
        return _percent(value)
    if digits is not None:
        return f"{value:.{digits}f}"
    if metric == "perfect_classes":
        return f"{value:.0f}" if value.is_integer() else f"{value:.1f}"
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _or_nothing(value: object) -> str:
    return NOTHING if value is None else str(value)
