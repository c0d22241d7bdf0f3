"""An ablation as a heat map: one figure over the values of one or two options, such as stages and ratio.

Made from the runs of a sweep, each of which trained with its setting, or from what `cprspec mine --grid ... --json` printed,
where the encoders are held fixed. Darker is higher, and the figure stands in each cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cprspec.errors import clean
from cprspec.runs.compare import compare
from cprspec.runs.differences import recipe_of
from cprspec.runs.figures.style import SHADES, WIDTHS, ink_on, label, new_figure, nothing, styled, unknown
from cprspec.runs.groups import group_by_seed
from cprspec.runs.metrics import counted, known_metrics
from cprspec.runs.reading import read_json
from cprspec.runs.records import is_share, mining_records
from cprspec.runs.summary import RunSummary

OPTIONS = ("metric", "unit", "x", "y", "encoder")
FILES = (".json",)
METRIC = "median_cmr"
_ABSENT = "-"


@frozen(kw_only=True)
class Setting:
    """One setting: every option by its key, its figure and what that counts; `own`: the run's, among settings mined again."""

    options: Mapping[str, Any]
    value: float | None
    unit: str | None = None
    own: bool = False


def draw(
    runs: Sequence[RunSummary],
    *,
    columns: int = 1,
    metric: Sequence[str] = (METRIC,),
    unit: str | None = None,
    x: str | None = None,
    y: str | None = None,
    encoder: str | None = None,
) -> Figure:
    """The mean over seeds of `metric`, of `encoder` (default: the last phase that has it), over the keys that vary."""
    (name,) = _one(metric)
    groups, comparison = group_by_seed(runs), compare(runs)
    if name not in known_metrics(comparison):
        raise unknown("no run has a metric", name, known_metrics(comparison))
    settings = []
    for group in groups:
        found = counted(comparison, group.letter, name, encoder, unit)
        value = found.figure.mean if found and found.figure else None
        settings.append(
            Setting(options=_leaves(recipe_of(group) or {}), value=value, unit=found.unit if found else None)
        )
    return _heat_map(settings, name, x, y, columns)


def draw_file(
    path: Path,
    *,
    columns: int = 1,
    metric: Sequence[str] = (METRIC,),
    unit: str | None = None,
    x: str | None = None,
    y: str | None = None,
    encoder: str | None = None,
) -> Figure:
    """The same over the settings in a file that `cprspec mine --grid ... --json` printed; its own setting is framed."""
    (name,) = _one(metric)
    if encoder is not None:
        raise nothing("settings mined again are of one phase", "leave out --encoder")
    problems: list[str] = []
    data = read_json(path, problems, "mine")
    rows = data.get("settings") if data else None
    if not isinstance(rows, list):
        raise nothing("; ".join(problems) or f"{path}: no settings", "give what cprspec mine --json printed")
    tables = [row for row in rows if isinstance(row, Mapping)]
    records = [{(r.metric, r.unit): r.value for r in mining_records(table, "", None)} for table in tables]
    known = dict.fromkeys(found for each in records for found, _ in each)
    if name not in known:
        raise unknown(f"{clean(path.name)} has no metric", name, known)
    settings = []
    for table, each in zip(tables, records, strict=True):
        counts = unit or "source" if (name, None) not in each else None
        miner = table.get("miner")
        options = _leaves({"miner": miner if isinstance(miner, Mapping) else {}})
        settings.append(
            Setting(options=options, value=each.get((name, counts)), unit=counts, own=table.get("own") is True)
        )
    return _heat_map(settings, name, x, y, columns)


def varied(settings: Sequence[Setting]) -> list[str]:
    """Keys that have several values, without those that another one settles: a card settles its component's options."""
    texts = {key: [_text(s.options.get(key)) for s in settings] for s in settings for key in s.options}
    several = [key for key, values in texts.items() if len(set(values)) > 1]
    kept: list[str] = []
    for key in sorted(several, key=lambda key: (not key.endswith("use"), -len(set(texts[key])))):
        if not any(_settles(texts[other], texts[key]) for other in kept):
            kept.append(key)
    return [key for key in several if key in kept]


def _settles(values: Sequence[str], others: Sequence[str]) -> bool:
    """Whether settings that agree in `values` agree in `others`."""
    return len(set(zip(values, others, strict=True))) == len(set(values))


def _heat_map(settings: Sequence[Setting], metric: str, x: str | None, y: str | None, columns: int) -> Figure:
    across, down = _axes_of(settings, x, y)
    cells: dict[tuple[str, str], Setting] = {}
    for setting in settings:
        place = _text(setting.options.get(across)), _text(setting.options.get(down)) if down else ""
        if place in cells:
            also = ", ".join(varied([cells[place], setting])) or "nothing"
            raise nothing(f"two settings have {_said(across, down, place)}", f"they differ in {also}")
        cells[place] = setting
    columns_of = _in_order(s.options.get(across) for s in settings)
    rows_of = _in_order(s.options.get(down) for s in settings) if down else [""]
    if all(cell.value is None for cell in cells.values()):
        raise nothing(f"none of the settings has {metric}", "wait for an epoch that mines, or for the evaluation")
    with styled():
        height = max(1.2, 0.9 + 0.27 * len(rows_of))
        figure = new_figure(columns, height)
        axes = figure.subplots()
        scale = 100 if is_share(metric) else 1
        grid = np.array([[_value(cells.get((c, r)), scale) for c in columns_of] for r in rows_of])
        image = axes.imshow(np.ma.masked_invalid(grid), cmap=SHADES, aspect="auto")
        figure.colorbar(image, ax=axes, label=_name(metric, next((s.unit for s in settings if s.unit), None)))
        _write(axes, grid, size=min(6.5, 60 * WIDTHS[columns] / len(columns_of) / 5))
        for (c, r), cell in cells.items():
            if cell.own:
                corner = (columns_of.index(c) - 0.5, rows_of.index(r) - 0.5)
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.5, clip_on=False))
        axes.set_xticks(range(len(columns_of)), [label(text, 20) for text in columns_of])
        axes.set_yticks(range(len(rows_of)), [label(text, 20) for text in rows_of])
        axes.set_xlabel(label(across))
        axes.set_ylabel(label(down) if down else "")
        axes.tick_params(length=0)
        axes.grid(visible=False)
    return figure


def _axes_of(settings: Sequence[Setting], x: str | None, y: str | None) -> tuple[str, str | None]:
    """The keys across and down: those that were named, and of the others that vary the only one."""
    keys = varied(settings)
    known = sorted({key for s in settings for key in s.options})
    for named in (x, y):
        if named is not None and named not in known:
            raise unknown("no setting has a key", named, keys or known)
    left = [key for key in keys if key not in {x, y}]
    if not keys and x is None:
        raise nothing(
            "nothing varies between these settings", "give the runs of a sweep, or a file of cprspec mine --grid"
        )
    if len(keys) > 2 and (x is None or y is None):
        raise nothing(
            f"{len(keys)} keys vary: {', '.join(keys[:8])}", "choose two with --x and --y, and leave out the other runs"
        )
    across = x if x is not None else left.pop(0)
    return across, y if y is not None else (left[0] if left else None)


def _write(axes: Axes, grid: Any, size: float) -> None:
    """The figure in each cell."""
    low, high = np.nanmin(grid), np.nanmax(grid)
    for (row, column), value in np.ndenumerate(grid):
        text = _ABSENT if math.isnan(value) else f"{value:.1f}" if abs(value) < 1000 else f"{value:.3g}"
        shade = 0.0 if math.isnan(value) or high == low else (value - low) / (high - low)
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink_on(shade))


def _value(cell: Setting | None, scale: float) -> float:
    return math.nan if cell is None or cell.value is None else scale * cell.value


def _name(metric: str, unit: str | None) -> str:
    of = f", {unit}s" if unit and "cmr" in metric else ""
    return f"{label(metric)}{of}" + (" (%)" if is_share(metric) else "")


def _said(across: str, down: str | None, place: tuple[str, str]) -> str:
    return clean(f"{across} = {place[0]}" + (f" and {down} = {place[1]}" if down else ""))


def _one(metric: Sequence[str]) -> Sequence[str]:
    if len(metric) != 1:
        raise nothing("a heat map shows one metric", "give --metric once")
    return metric


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every value by its key path; a table that goes by epoch is a value."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not all(str(k).isdecimal() for k in value):
            found |= _leaves(value, (*above, key))
        else:
            found[".".join((*above, key))] = value
    return found


def _in_order(values: Any) -> list[str]:
    """Texts of the values, each once: numbers by size, otherwise as they come; what has none is last."""
    every = {_text(value): value for value in values}
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in every.values() if v is not None)
    order = (
        (lambda text: (every[text] is None, every[text] or 0)) if numbers else (lambda text: (every[text] is None, 0))
    )
    return sorted(every, key=order)


def _text(value: Any) -> str:
    """A value as an axis says it."""
    if value is None:
        return _ABSENT
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{_text(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
