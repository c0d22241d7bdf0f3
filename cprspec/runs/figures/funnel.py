"""The funnel of a cascade: what the survivors of each stage are, from the whole eligible bank (stage 0) to the picks.

*Precision* is the share of the survivors that are right, *recall* the share of the bank's true positives that are still there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from cprspec.runs.figures.phases import mined_phase, tables
from cprspec.runs.figures.style import COLOURS, DASHES, MARKERS, group_labels, legend_above, new_figure, nothing, styled
from cprspec.runs.groups import group_by_seed
from cprspec.runs.records import as_number
from cprspec.runs.summary import RunSummary

OPTIONS = ("phase",)


@frozen(kw_only=True)
class Stage:
    """One stage, the mean over runs: survivors for each query; precision and recall as shares, None where unknown."""

    stage: int
    survivors: float
    precision: float | None
    recall: float | None


def draw(runs: Sequence[RunSummary], *, columns: int = 2, phase: str | None = None) -> Figure:
    """The funnel of the last epoch of `phase` (default: the last that mined), a line for each experiment."""
    groups = group_by_seed(runs)
    phase = mined_phase(groups, phase)
    funnels = [stages(tables(group.runs, phase)) for group in groups]
    for group, funnel in zip(groups, funnels, strict=True):
        if not funnel:
            raise nothing(
                f"{group.letter} ({group.experiment}) has no funnel in phase '{phase}'", "a funnel needs labels"
            )
    with styled():
        if columns == 2:
            figure = new_figure(2, 2.1)
            panels = figure.subplots(1, 3)
        else:
            figure = new_figure(1, 4.2)
            panels = figure.subplots(3, 1, sharex=True)
        shown = []
        for g, (name, funnel) in enumerate(zip(group_labels(groups), funnels, strict=True)):
            line = {
                "color": COLOURS[g % len(COLOURS)], "linestyle": DASHES[g % len(DASHES)],
                "marker": MARKERS[g % len(MARKERS)], "label": name,
            }  # fmt: skip
            shown += _line(panels[0], funnel, [_percent(s.precision) for s in funnel], line)
            _line(panels[1], funnel, [_percent(s.recall) for s in funnel], line)
            _line(panels[2], funnel, [s.survivors for s in funnel], line)
        last = max(stage.stage for funnel in funnels for stage in funnel)
        _axes(panels, last, columns)
        legend_above(figure, shown, columns)
    return figure


def stages(found: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """The stages that every one of some mining tables has, averaged; empty without a funnel that can be read."""
    per_run = [_stages(table) for table in found]
    length = min((len(run) for run in per_run), default=0)
    return [_mean([run[number] for run in per_run]) for number in range(length)]


def _stages(table: Mapping[str, Any]) -> list[Stage]:
    rows, queries = table.get("funnel"), as_number(table.get("queries"))
    read = []
    for number, row in enumerate(rows if isinstance(rows, list) and queries else ()):
        survivors = as_number(row.get("survivors")) if isinstance(row, Mapping) else None
        if survivors is None or not queries:
            break
        precision, recall = as_number(row.get("precision")), as_number(row.get("recall"))
        read.append(Stage(stage=number, survivors=survivors / queries, precision=precision, recall=recall))
    return read


def _mean(same: Sequence[Stage]) -> Stage:
    precision = [s.precision for s in same if s.precision is not None]
    recall = [s.recall for s in same if s.recall is not None]
    return Stage(
        stage=same[0].stage,
        survivors=fmean(s.survivors for s in same),
        precision=fmean(precision) if precision else None,
        recall=fmean(recall) if recall else None,
    )


def _line(axes: Axes, funnel: Sequence[Stage], values: Sequence[float], line: Mapping[str, Any]) -> list[Line2D]:
    return axes.plot([stage.stage for stage in funnel], values, **line)


def _percent(share: float | None) -> float:
    return math.nan if share is None else 100 * share


def _axes(panels: Sequence[Axes], last: int, columns: int) -> None:
    names = ("precision (%)", "recall (%)", "survivors per query")
    for axes, name in zip(panels, names, strict=True):
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.set_xticks(range(last + 1), ["bank", *(str(stage) for stage in range(1, last + 1))])
        if columns == 2 or axes is panels[-1]:
            axes.set_xlabel("stage")
    panels[2].set_yscale("log")
    panels[2].autoscale(axis="y")
    panels[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    # Plain numbers: the default writes powers as mathematics, which is off.
    panels[2].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[2].yaxis.set_minor_locator(NullLocator())
