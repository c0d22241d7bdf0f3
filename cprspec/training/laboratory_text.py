"""A laboratory's settings as a table on the screen and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean
from cprspec.runs.files import finite
from cprspec.training.laboratory import Laboratory, Row, options_of, varied
from cprspec.training.mining_table import RecallSummary

NOTHING = "-"
OWN = "*"
_LONGEST = 24


def print_table(laboratory: Laboratory, console: Console) -> None:
    """One line for each setting; `*` marks the run's own. CMR is beside a random miner's, stage 0 is the bank."""
    names = varied(laboratory.rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("", *names):
        table.add_column(Text(header), no_wrap=True)
    for header in ("right", "source", "random", "video", "random", "s"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("right by stage", overflow="fold")
    for row in laboratory.rows:
        table.add_row(*(Text(cell) for cell in _cells(row, names)))
    epoch = laboratory.recording.epoch
    title = (
        f"{laboratory.run}, phase {laboratory.plan.phase}, epoch {epoch.epoch}: picks that are right, median CMR (%)"
    )
    console.print(Text(clean(title), style="bold"), no_wrap=True, overflow="ellipsis")
    console.print(table)


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    table, options = row.table, options_of(row.choice)
    funnel = " ".join(_percent(stage.precision) for stage in table.funnel)
    return [
        OWN if row.own else "",
        *(clean(str(options.get(name, NOTHING)), _LONGEST) for name in names),
        _percent(table.precision),
        *_recall(table.cmr_source, table.picks),
        *_recall(table.cmr_video, table.picks),
        f"{row.seconds:.2f}",
        funnel or NOTHING,
    ]


def _recall(summary: RecallSummary | None, picks: int) -> tuple[str, str]:
    if summary is None or not picks:
        return NOTHING, NOTHING
    return _percent(summary.median), _percent(summary.median_random)


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}"


def write_csv(laboratory: Laboratory, stream: TextIO) -> None:
    """One line for each setting with every figure; shares lie between 0 and 1, what is unknown is empty."""
    settings: list[dict[str, Any]] = [_flat(each) for each in finite(laboratory.to_json()["settings"])]
    writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in settings for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(settings)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested tables as `cmr.source.median`, arrays by number."""
    if not isinstance(value, dict | list):
        return {path: value}
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, each in inside:
        flat |= _flat(each, f"{path}.{key}" if path else str(key))
    return flat
