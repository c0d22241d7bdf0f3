"""Tables as columns of text: laid out for a terminal of any width, or written as Markdown. No text in them is markup.

A table too wide for the terminal leaves out the columns marked as least needed, and then shortens names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from attrs import evolve, frozen
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean

_LONGEST_NAME = 40
_READABLE_NAME = 24
"""Spare columns are left out before names are cut below this."""

_SHORTEST_NAME = 8
_BETWEEN = 2
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$]|:(?=//)|(?<=www)\.|(?<!\w)@")
"""What Markdown would take for more than text: emphasis, links, HTML, entities, formulas, addresses, people."""


@frozen
class Column:
    """A column: its header, its cells, and how soon it is left out (0: never, 1: the last to go, higher: sooner)."""

    header: str
    cells: tuple[str, ...]
    spare: int = 0
    name: bool = False
    """A name may be shortened; a figure never."""

    @property
    def is_text(self) -> bool:
        """Whether its cells are words, which stand on the left."""
        return self.name or self.header in {"", "unit", "runs"}

    @property
    def width(self) -> int:
        """Cells of the terminal that its longest text takes."""
        return max(cell_len(text) for text in (self.header, *self.cells))


def print_tables(tables: Iterable[tuple[str, Sequence[Column]]], console: Console) -> None:
    """Print each title and its columns."""
    for number, (title, columns) in enumerate(tables):
        if number:
            console.print()
        console.print(Text(clean(title), style="bold"), no_wrap=True, overflow="ellipsis")
        console.print(_table(columns, console.width))


def markdown(tables: Iterable[tuple[str, Sequence[Column]]]) -> str:
    """Each title and all of its columns as tables of GitHub's Markdown; no character of a cell has a meaning there."""
    blocks = []
    for title, columns in tables:
        lines = [
            [_escaped(column.header) for column in columns],
            [":--" if column.is_text else "--:" for column in columns],
            *([_escaped(text) for text in row] for row in zip(*(column.cells for column in columns), strict=True)),
        ]
        rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"**{_escaped(title)}**\n\n{rows}\n")
    return "\n".join(blocks)


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", clean(text))


def equal_rows_as_one(columns: list[Column]) -> list[Column]:
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
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(header, justify=justify, no_wrap=True, overflow="ellipsis", max_width=limit)
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


def names(header: str, texts: Sequence[str]) -> Column:
    """A column of texts from files."""
    return Column(header, tuple(clean(text, _LONGEST_NAME) for text in texts), name=True)
