"""Figure 1 of the CPR paper: class mining recall of every class, runs as paired bars, classes in alphabetical order.

A class of which some run found everything stands in bold. A short line across a bar is what a miner that picks as often
finds at random. Above, frames of the classes with the highest and the lowest CMR of the first run, where it wrote strips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch

from cprspec.runs.class_rows import CMR, Of, class_means, random_means
from cprspec.runs.figures.phases import mined_phase
from cprspec.runs.figures.strips import Image, class_strips
from cprspec.runs.figures.style import (
    COLOURS,
    HATCHES,
    WIDTHS,
    group_labels,
    label,
    legend_above,
    new_figure,
    nothing,
    styled,
)
from cprspec.runs.groups import group_by_seed
from cprspec.runs.summary import RunSummary

OPTIONS = ("phase", "unit")
UNITS = {"source": "sources", "video": "videos"}
MOST_GROUPS = 4
RANDOM = "random miner"
_ONE_ROW = 12
"""So many classes stand in one row; more in two, as in the paper, or in as many as their names need."""

_SLOT = 0.115
"""Inches that a class needs at least."""

_AXIS = 0.45
"""Inches beside the bars for the axis."""

_BARS = 0.95
"""Height of a row's bars, inches."""

Values = Mapping[str, float]


def draw(
    runs: Sequence[RunSummary], *, columns: int = 2, phase: str | None = None, unit: str = "source", strips: bool = True
) -> Figure:
    """CMR in the last epoch of `phase` (default: the last that mined) in `unit`s, `source` or `video`; means over seeds."""
    groups = group_by_seed(runs)
    if len(groups) > MOST_GROUPS:
        raise nothing(f"bars of {len(groups)} experiments cannot be told apart", f"give at most {MOST_GROUPS}")
    phase = mined_phase(groups, phase)
    of = Of(metric=CMR, encoder=phase, unit=unit)
    values = [class_means(group.runs).get(of, {}) for group in groups]
    random = [random_means(group.runs).get(of, {}) for group in groups]
    classes = sorted(set().union(*values), key=lambda name: (name.casefold(), name))
    if not classes:
        hint = "CMR needs labels, and two sources in a class; --unit video counts videos" if unit == "source" else None
        raise nothing(f"no class has a CMR over {UNITS[unit]} in phase '{phase}'", hint)
    shown = _extremes(values[0], class_strips(groups[0].runs, phase), 3 if columns == 2 else 1) if strips else []
    with styled():
        return _figure(classes, values, random, group_labels(groups), shown, unit=unit, columns=columns)


def _figure(
    classes: Sequence[str],
    values: Sequence[Values],
    random: Sequence[Values],
    names: Sequence[str],
    shown: Sequence[tuple[str, Image]],
    *,
    unit: str,
    columns: int,
) -> Figure:
    width = WIDTHS[columns] - _AXIS
    fits = int(width / _SLOT)
    rows = 1 if len(classes) <= min(_ONE_ROW, fits) else max(2, math.ceil(len(classes) / fits))
    per_row = math.ceil(len(classes) / rows)
    size = min(6.5, 0.85 * 72 * width / per_row)
    tallest = max(len(label(name)) for name in classes) * size * 0.62 / 72
    figure = new_figure(columns, rows * (_BARS + tallest) + 0.35 + (0.72 if shown else 0))
    heights = [0.42] * bool(shown) + [_BARS + tallest] * rows
    grid = GridSpec(len(heights), max(1, len(shown)), figure=figure, height_ratios=heights)
    for place, strip in enumerate(shown):
        _strip(figure.add_subplot(grid[0, place]), *strip)
    bars: list[Artist] = []
    for row in range(rows):
        axes = figure.add_subplot(grid[row + bool(shown), :])
        part = classes[row * per_row : (row + 1) * per_row]
        bars = _bars(axes, part, values, random, names, size)
        axes.set_xlim(-0.6, per_row - 0.4)
    figure.supylabel(f"CMR over {UNITS[unit]} (%)", fontsize=7)
    legend_above(figure, bars, columns)
    return figure


def _bars(
    axes: Axes,
    classes: Sequence[str],
    values: Sequence[Values],
    random: Sequence[Values],
    names: Sequence[str],
    size: float,
) -> list[Artist]:
    """One row: a bar of every group for each class; what a legend shows of it."""
    width = 0.84 / len(values)
    shown: list[Artist] = []
    chance: Artist | None = None
    for g, (own, at_random, name) in enumerate(zip(values, random, names, strict=True)):
        x = np.arange(len(classes)) - 0.42 + width * (g + 0.5)
        heights = [100 * own.get(c, math.nan) for c in classes]
        look: dict[str, Any] = {"facecolor": COLOURS[g], "hatch": HATCHES[g], "edgecolor": "black", "linewidth": 0.3}
        axes.bar(x, heights, width, label=name, **look)
        shown.append(Patch(label=name, **look))
        at = [100 * at_random.get(c, math.nan) for c in classes]
        chance = axes.hlines(at, x - width / 2, x + width / 2, colors="black", linewidth=1.2, label=RANDOM)
    axes.set_ylim(0, 105)
    axes.set_yticks([0, 50, 100])
    axes.set_xticks(range(len(classes)), [label(name) for name in classes], rotation=90, fontsize=size)
    axes.tick_params(axis="x", length=0, pad=1)
    for text, name in zip(axes.get_xticklabels(), classes, strict=True):
        if any(own.get(name) == 1 for own in values):
            text.set_fontweight("bold")
    return [*shown, chance] if chance else shown


def _extremes(values: Values, strips: Mapping[str, Image], count: int) -> list[tuple[str, Image]]:
    """The `count` classes with the highest and the lowest CMR among those with a strip: name and percentage, strip."""
    ranked = sorted((name for name in values if name in strips), key=lambda name: (-values[name], name))
    count = min(count, len(ranked) // 2)
    chosen = [*ranked[:count], *ranked[len(ranked) - count :]]
    return [(f"{label(name, 20)}\n{100 * values[name]:.1f} %", strips[name]) for name in chosen]


def _strip(axes: Axes, title: str, image: Image) -> None:
    axes.imshow(image, interpolation="none")
    axes.set_axis_off()
    axes.set_title(title, fontsize=6, pad=2)
