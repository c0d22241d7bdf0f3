"""A comparison as CSV: one row for each figure of each group, and how its classes stand against the first group's."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, TextIO

from cprspec.errors import clean
from cprspec.runs.class_rows import CMR
from cprspec.runs.comparison import ClassesRow, Comparison
from cprspec.runs.metrics import Found, every_figure

COLUMNS = (
    "group", "experiment", "seeds", "metric", "unit", "dataset", "split", "protocol", "encoder", "n", "mean", "std",
    "runs", "against", "won", "tied", "lost", "median_difference", "low", "high", "p",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@")


def write_csv(comparison: Comparison, stream: TextIO) -> None:
    """Write every figure; empty where there is none. Shares lie between 0 and 1."""
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(comparison))


def as_cell(text: str | None) -> str:
    """A text from a file as a cell: one line, and nothing that a spreadsheet would compute (it begins with `'` then)."""
    safe = clean(text or "")
    return f"'{safe}" if safe.startswith(_FORMULA) else safe


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    groups = {group.letter: group for group in comparison.groups}
    classes = {(r.other, r.metric, r.encoder, r.unit, r.dataset, r.protocol): r for r in comparison.classes}
    for found in every_figure(comparison):
        if found.figure is None:
            continue
        group = groups[found.group]
        of = (found.metric, found.encoder, found.unit or "", found.dataset, found.protocol)
        if found.metric in {"median_cmr", "mean_cmr"}:
            of = (CMR, found.encoder, found.unit or "", None, None)
        row = classes.get((group.letter, *of))
        yield {
            "group": group.letter,
            "experiment": as_cell(group.experiment),
            "seeds": " ".join(str(seed) for seed in group.seeds if seed is not None),
            **_place(found),
            "n": found.n,
            "mean": found.figure.mean,
            "std": found.figure.std,
            "runs": found.figure.n,
            **(_against(row) if row else {}),
        }


def _place(found: Found) -> dict[str, str]:
    texts = {
        "metric": found.metric, "unit": found.unit, "dataset": found.dataset, "split": found.split,
        "protocol": found.protocol, "encoder": found.encoder,
    }  # fmt: skip
    return {name: as_cell(text) for name, text in texts.items()}


def _against(row: ClassesRow) -> dict[str, Any]:
    """The comparison seen from the row's own group: positive where it is higher than the first."""
    found = row.difference
    return {
        "against": row.group, "won": row.lost, "tied": row.tied, "lost": row.won,
        "median_difference": 0 - found.median, "low": 0 - found.high, "high": 0 - found.low, "p": row.test.p,
    }  # fmt: skip
