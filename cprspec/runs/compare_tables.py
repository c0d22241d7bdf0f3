"""A comparison as tables: for the screen, and for Markdown.

Runs are called by letters, explained once at the top, so that figures and not names fill the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console

from cprspec.runs.class_rows import CMR
from cprspec.runs.columns import Column, equal_rows_as_one, names, print_tables
from cprspec.runs.comparison import ClassesRow, Comparison, Figure, Group, LossRow
from cprspec.runs.paired import Interval
from cprspec.runs.records import is_share

NOTHING = "-"
DIFFERENCES_SHOWN = 10
"""So many keys in which an experiment differs from the first are listed."""


def print_comparison(comparison: Comparison, console: Console, *, every_class: bool = False) -> None:
    """Print every table of `comparison` that has rows; `every_class`: see `tables`."""
    print_tables(tables(comparison, every_class=every_class), console)


def tables(comparison: Comparison, *, every_class: bool = False) -> list[tuple[str, list[Column]]]:
    """Title and columns of each table that has rows.

    Classes are compared in their CMR, and with `every_class` also in what evaluations say of each.
    """
    found: list[tuple[str, list[Column]]] = [("Runs", _legend(comparison.groups))]
    if comparison.differences:
        found.append(
            (f"What the experiments have instead of {comparison.groups[0].letter}'s", _differences(comparison))
        )
    if comparison.mining:
        found.append(("Mining in the last epoch: picks that are right, CMR over classes (%)", _mining(comparison)))
    found += _results(comparison)
    if comparison.losses:
        found.append(("Training, last epoch", _losses(comparison)))
    classes = [row for row in comparison.classes if row.metric == CMR or (every_class and row.won + row.lost)]
    found += _classes(classes)
    found += _differing(comparison)
    if comparison.published:
        found.append(("Published numbers, and these runs' own", _published(comparison)))
    return [(title, equal_rows_as_one(columns)) for title, columns in found]


def _legend(groups: Sequence[Group]) -> list[Column]:
    return [
        Column("", tuple(group.letter for group in groups)),
        names("experiment", [group.experiment for group in groups]),
        names("seeds", [", ".join(_or_nothing(seed) for seed in group.seeds) for group in groups]),
        names("state", [", ".join(dict.fromkeys(group.states)) for group in groups]),
        names("runs", [_run_ids(group.runs) for group in groups]),
    ]


def _run_ids(labels: Sequence[str]) -> str:
    first = labels[0].rpartition("/")[2]
    return f"{first} and {len(labels) - 1} more" if len(labels) > 1 else first


def _mining(comparison: Comparison) -> list[Column]:
    rows = comparison.mining
    metrics = {
        "precision": ("right", 0), "median_cmr": ("median", 0), "median_cmr_random": ("random", 0),
        "mean_cmr": ("mean", 1), "mean_cmr_random": ("random mean", 3), "perfect_classes": ("perfect", 2),
    }  # fmt: skip
    return [
        names("phase", [row.phase for row in rows]),
        Column("unit", tuple(row.unit for row in rows)),
        Column("", tuple(row.group for row in rows)),
        *(
            Column(header, tuple(_figure(row.figures.get(metric), metric) for row in rows), spare)
            for metric, (header, spare) in metrics.items()
            if any(metric in row.figures for row in rows)
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
        share = " (%)" if all(is_share(metric) for metric in metrics) else ""
        yield (
            title + share,
            [
                names("encoder", [row.encoder for row in rows]),
                Column("", tuple(row.group for row in rows)),
                *(
                    Column(metric, tuple(_figure(row.figures.get(metric), metric) for row in rows), _spare(metric))
                    for metric in metrics
                ),
            ],
        )


def _epochs(row: LossRow) -> str:
    if row.reused:
        return "reused"
    return f"{row.epochs_done} of {row.epochs}" if row.epochs else "not begun"


def _losses(comparison: Comparison) -> list[Column]:
    rows = comparison.losses
    figures = [
        Column("loss", tuple(_figure(row.loss, "loss") for row in rows)),
        Column("own key %", tuple(_figure(row.own_key_accuracy, "accuracy") for row in rows), 1),
        Column("clips/s", tuple(_figure(row.clips_per_s, "speed", digits=0) for row in rows), 2),
    ]
    return [
        names("phase", [row.phase for row in rows]),
        Column("", tuple(row.group for row in rows)),
        Column("epochs", tuple(_epochs(row) for row in rows)),
        *(column for column in figures if set(column.cells) != {NOTHING}),
    ]


def _differences(comparison: Comparison) -> list[Column]:
    rows: list[tuple[str, str, str, str]] = []
    for other, found in groupby(comparison.differences, lambda row: row.other):
        own = list(found)
        rows += [(row.key, _value(row.mine), other, _value(row.theirs)) for row in own[:DIFFERENCES_SHOWN]]
        if len(own) > DIFFERENCES_SHOWN:
            rows.append((f"and {len(own) - DIFFERENCES_SHOWN} more keys", "", other, ""))
    key, mine, letters, theirs = zip(*rows, strict=True)
    first = comparison.groups[0].letter
    return [names("key", key), names(first, mine), Column("", letters), names("instead", theirs)]


def _value(value: Any) -> str:
    """A value as a resolved experiment has it, short."""
    if value is None:
        return NOTHING
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_value(v)}" for key, v in value.items() if not isinstance(v, dict))
        return inner or "a table"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _classes(rows: Sequence[ClassesRow]) -> Iterator[tuple[str, list[Column]]]:
    """A table for CMR, and one for each metric, data set and protocol that evaluations tell of classes."""
    for (metric, dataset, protocol), found in groupby(rows, lambda row: (row.metric, row.dataset, row.protocol)):
        own = list(found)
        what = "CMR" if metric == CMR else f"{metric} ({protocol or NOTHING} on {dataset})"
        title = f"Classes in {what}: won, tied, lost; median of the differences, p"
        yield (
            title,
            [
                names("phase" if metric == CMR else "encoder", [row.encoder for row in own]),
                Column("unit", tuple(row.unit for row in own)),
                Column("runs", tuple(f"{row.group} against {row.other}" for row in own)),
                Column("won", tuple(str(row.won) for row in own)),
                Column("tied", tuple(str(row.tied) for row in own)),
                Column("lost", tuple(str(row.lost) for row in own)),
                Column("median", tuple(_signed(row.difference.median) for row in own), 2),
                Column("95 % interval", tuple(_interval(row.difference) for row in own), 3),
                Column("p", tuple(p_value(row.test.p) for row in own), 1),
            ],
        )


def _interval(difference: Interval) -> str:
    return f"{_signed(difference.low)} to {_signed(difference.high)}"


def p_value(p: float) -> str:
    """A probability as tables show it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _differing(comparison: Comparison) -> Iterator[tuple[str, list[Column]]]:
    """For the first two groups only, in sources: the classes that differ most in each phase."""
    for row in comparison.classes:
        if row.other != comparison.groups[1].letter or row.unit != "source" or not row.differ_most:
            continue
        yield (
            f"Classes that differ most: {row.encoder}, CMR over sources (%)",
            [
                names("class", [name for name, _, _ in row.differ_most]),
                Column(row.group, tuple(_percent(mine) for _, mine, _ in row.differ_most)),
                Column(row.other, tuple(_percent(other) for _, _, other in row.differ_most)),
                Column("difference", tuple(_signed(mine - other) for _, mine, other in row.differ_most)),
            ],
        )


def _published(comparison: Comparison) -> list[Column]:
    rows = [
        (row, group.letter, row.found.get(group.letter)) for row in comparison.published for group in comparison.groups
    ]
    return [
        names("metric", [row.metric for row, _, _ in rows]),
        Column("published", tuple(_number(row.value, row.metric) for row, _, _ in rows)),
        Column("", tuple(letter for _, letter, _ in rows)),
        Column("found", tuple(_figure(found[1], row.metric) if found else NOTHING for row, _, found in rows)),
        names("by", [found[0] if found else NOTHING for _, _, found in rows]),
        names("where", [row.where for row, _, _ in rows]),
    ]


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
    if is_share(metric):
        return _percent(value)
    if digits is not None:
        return f"{value:.{digits}f}"
    if metric == "perfect_classes":
        return f"{value:.0f}" if value.is_integer() else f"{value:.1f}"
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.3g}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}" if round(share, 4) else "0.0"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _or_nothing(value: object) -> str:
    return NOTHING if value is None else str(value)
