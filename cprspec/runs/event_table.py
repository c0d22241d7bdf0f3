"""The events of a run as CSV: a line each, in which every field of every kind has its column. For spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from attrs import fields

from cprspec.runs.compare_csv import as_cell
from cprspec.runs.events import Event

_TIMES = ("time", "t_s")
_PLACE = ("phase", "epoch", "step")


def write_events(events: Iterable[Event], kinds: Sequence[type[Event]], stream: TextIO) -> int:
    """Write the events of `kinds` with the columns that these have; the number of lines.

    `utc` is `time` as a date; texts are single cells that no spreadsheet computes, several names in one are divided by spaces.
    """
    every = dict.fromkeys(f.name for kind in kinds for f in fields(kind) if f.name not in _TIMES)
    names = sorted(every, key=lambda name: name not in _PLACE)  # stable: place first, the rest as declared
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("kind", "utc", *_TIMES, *names))
    lines = 0
    for event in events:
        if isinstance(event, tuple(kinds)):
            cells = (_cell(getattr(event, name, None)) for name in names)
            writer.writerow((event.kind, _utc(event.time), event.time, event.t_s, *cells))
            lines += 1
    return lines


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return as_cell(" ".join(str(part) for part in value))
    if isinstance(value, bool):
        return str(value).lower()
    return as_cell(value) if isinstance(value, str) else value


def _utc(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""  # a time that no calendar has
