"""Training by epoch: loss, the share of right picks, CMR and own-key accuracy, phase after phase.

Phases stand side by side in the order of the recipe; one that was reused has its epochs in another run and is left empty.
Several seeds are a line of means within the range from the lowest to the highest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cprspec.errors import CprspecError
from cprspec.runs.events import Epoch, Step
from cprspec.runs.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    group_labels,
    label,
    legend_above,
    new_figure,
    nothing,
    styled,
    unknown,
)
from cprspec.runs.groups import Members, group_by_seed
from cprspec.runs.summary import RunSummary
from cprspec.runs.tail import read_events

OPTIONS = ("metric", "phase")
METRICS = {
    "loss": "loss",
    "precision": "right picks (%)",
    "cmr_source_median": "median CMR (%)",
    "cmr_video_median": "median CMR, videos (%)",
    "own_key_accuracy": "own-key accuracy (%)",
}
"""What an epoch says, and the name of its axis."""

DEFAULT = ("loss", "precision", "cmr_source_median")
_MARKERS_ON_A_LINE = 6


@frozen
class _Line:
    """One metric of one group in one phase: for each epoch the values of the runs that have it."""

    phase: str
    values: Mapping[int, tuple[float, ...]]


def draw(
    runs: Sequence[RunSummary], *, columns: int = 2, metric: Sequence[str] = (), phase: str | None = None
) -> Figure:
    """A panel for each of `metric` (names of `METRICS`; by default those of `DEFAULT` that the runs have)."""
    groups = group_by_seed(runs)
    histories = [[_epochs(run) for run in group.runs] for group in groups]
    lengths = _lengths(runs, histories, phase)
    if not lengths:
        of_phase = f" of a phase '{phase}'" if phase else ""
        raise nothing(f"none of the runs has ended an epoch{of_phase}", "wait for one")
    for name in metric:
        if name not in METRICS:
            raise unknown("no curve is called", name, METRICS)
    wanted = list(metric) or [m for m in DEFAULT if any(_lines(h, m, lengths) for h in histories)]
    for name in wanted:
        if not any(_lines(h, name, lengths) for h in histories):
            raise nothing(
                f"none of the runs has '{name}' of an epoch", "mining figures need a phase that mines, and labels"
            )
    with styled():
        return _figure(groups, histories, wanted, lengths, columns)


def _figure(
    groups: Sequence[Members],
    histories: Sequence[Sequence[Sequence[Epoch]]],
    wanted: Sequence[str],
    lengths: Mapping[str, int],
    columns: int,
) -> Figure:
    figure = new_figure(columns, 1.25 * len(wanted) + 0.6)
    panels = figure.subplots(len(wanted), 1, sharex=True, squeeze=False)[:, 0]
    starts, at = {}, 0
    for phase, length in lengths.items():
        starts[phase], at = at, at + length
    for axes, metric in zip(panels, wanted, strict=True):
        shown = []
        for g, (name, history) in enumerate(zip(group_labels(groups), histories, strict=True)):
            shown += _plot(axes, _lines(history, metric, lengths), starts, g, name, 1.0 if metric == "loss" else 100.0)
        axes.set_ylabel(METRICS[metric])
        if metric != "loss":
            axes.set_ylim(bottom=0)
        axes.set_xlim(0, at + 1)
        for phase in list(starts)[1:]:
            axes.axvline(starts[phase] + 0.5, color="#808080", linewidth=0.5)
    _name_phases(panels[0], starts, lengths, columns)
    panels[-1].set_xlabel("epoch, phase after phase")
    legend_above(figure, shown, columns)
    return figure


def _plot(
    axes: Axes, lines: Sequence[_Line], starts: Mapping[str, int], g: int, name: str, scale: float
) -> list[Line2D]:
    """The lines of one group, phase by phase, epochs counted over the whole run from 1; what a legend shows of them."""
    colour, style = COLOURS[g % len(COLOURS)], DASHES[g % len(DASHES)]
    shown = axes.plot([], [], style, color=colour, marker=MARKERS[g % len(MARKERS)], label=name)
    for line in lines:
        x = [starts[line.phase] + epoch + 1 for epoch in sorted(line.values)]
        values = [[scale * v for v in line.values[epoch]] for epoch in sorted(line.values)]
        every = max(1, len(x) // _MARKERS_ON_A_LINE)
        axes.plot(
            x, [fmean(v) for v in values], style, color=colour, marker=MARKERS[g % len(MARKERS)], markevery=every
        )  # fmt: skip
        if any(len(v) > 1 for v in values):
            axes.fill_between(
                x, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.2, linewidth=0
            )
    return shown


def _name_phases(axes: Axes, starts: Mapping[str, int], lengths: Mapping[str, int], columns: int) -> None:
    whole = sum(lengths.values())
    for phase, start in starts.items():
        room = int(lengths[phase] / whole * (90 if columns == 2 else 40))
        axes.annotate(
            label(phase, max(3, room)), (start + lengths[phase] / 2 + 0.5, 1.0), xycoords=("data", "axes fraction"),
            xytext=(0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=6,
        )  # fmt: skip


def _lines(histories: Sequence[Sequence[Epoch]], metric: str, lengths: Mapping[str, int]) -> list[_Line]:
    """The lines of one group: a phase without a value of `metric` has none."""
    lines = []
    for phase in lengths:
        values: dict[int, tuple[float, ...]] = {}
        for epochs in histories:
            for event in epochs:
                value = getattr(event, metric)
                if event.phase == phase and value is not None:
                    values[event.epoch] = (*values.get(event.epoch, ()), value)
        if values:
            lines.append(_Line(phase, values))
    return lines


def _lengths(
    runs: Sequence[RunSummary], histories: Sequence[Sequence[Sequence[Epoch]]], phase: str | None
) -> dict[str, int]:
    """Epochs of each phase that any run has ended one of, phases in the order of the recipes."""
    ended: dict[str, int] = {}
    for event in (event for group in histories for epochs in group for event in epochs):
        ended[event.phase] = max(ended.get(event.phase, 0), event.epoch + 1)
    order = dict.fromkeys(p.name for run in runs for p in run.phases)
    return {name: ended[name] for name in order if name in ended and phase in {None, name}}


def _epochs(run: RunSummary) -> list[Epoch]:
    """The epochs in the run's log, in order; none where it cannot be read."""
    try:
        found, _ = read_events(run.run.events, without=[Step])
    except CprspecError:
        return []
    return [event for event in found if isinstance(event, Epoch)]
