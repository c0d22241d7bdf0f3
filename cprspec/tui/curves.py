"""Which curves the monitor draws, and how a run's columns become the points of one: x axis, smoothing, window, thinning."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.runs.history import Columns, PhaseHistory

Axis = Literal["step", "epoch", "time"]
AXES: tuple[Axis, ...] = ("step", "epoch", "time")
SMOOTHINGS = (0.0, 0.6, 0.9, 0.98)
"""Weight of the past in an exponential mean, per point."""

Floats = NDArray[np.float64]


@frozen
class Metric:
    """A curve: the column it is drawn from, of steps or of epochs; a share is shown in per cent."""

    column: str
    name: str
    of_epochs: bool = False
    share: bool = False


METRICS = (
    Metric("loss", "loss"),
    Metric("precision", "mining precision %", of_epochs=True, share=True),
    Metric("cmr_source_median", "median CMR %", of_epochs=True, share=True),
    Metric("own_key_accuracy", "own-key accuracy %", share=True),
    Metric("spread", "embedding spread"),
    Metric("lr", "learning rate"),
)


@frozen(kw_only=True)
class View:
    """How curves are drawn. `window`: of the x axis; None: all of it."""

    axis: Axis = "step"
    smoothing: float = 0.0
    log: bool = False
    window: tuple[float, float] | None = None


def points(phase: PhaseHistory, metric: Metric, axis: Axis) -> tuple[Floats, Floats]:
    """x and y of a curve as the run has it. Time is minutes of work since the run started."""
    rows = phase.epochs if metric.of_epochs else phase.steps
    y = np.array(rows[metric.column]) * (100.0 if metric.share else 1.0)
    x = _along(rows, phase, axis, ended=metric.of_epochs)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _along(rows: Columns, phase: PhaseHistory, axis: Axis, *, ended: bool) -> Floats:
    if axis == "time":
        return np.array(rows["t_s"]) / 60
    if axis == "epoch" and ended:
        return np.array(rows["epoch"]) + 1
    steps = np.array(rows["step"])
    if axis == "epoch" and phase.started is not None:
        return steps / max(1, phase.started.steps_per_epoch)
    return np.array(rows["epoch"]) if axis == "epoch" else steps


def drawn(x: Floats, y: Floats, view: View, columns: int) -> tuple[Floats, Floats]:
    """The points to draw of a curve: smoothed, as log10 if asked, within the window, two for each column at most."""
    if view.smoothing and len(y):
        y = smooth(y, view.smoothing)
    if view.log:
        positive = y > 0
        x, y = x[positive], np.log10(y[positive])
    if view.window is not None:
        # One point more on each side, so that lines run to the edges.
        low, high = view.window
        first = max(0, int(np.searchsorted(x, low)) - 1)
        last = min(len(x), int(np.searchsorted(x, high, "right")) + 1)
        x, y = x[first:last], y[first:last]
    return thin(x, y, columns)


def smooth(y: Floats, weight: float) -> Floats:
    """The exponential mean of `y`, its beginning corrected for the missing past."""
    out = np.empty_like(y)
    mean, norm = 0.0, 0.0
    for i, value in enumerate(y.tolist()):
        mean = weight * mean + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        out[i] = mean / norm
    return out


def thin(x: Floats, y: Floats, columns: int) -> tuple[Floats, Floats]:
    """At most two points for each of `columns` equal parts of x: the lowest and the highest, in their order."""
    if len(x) <= 2 * columns or columns < 1:
        return x, y
    edges = np.searchsorted(x, np.linspace(x[0], x[-1], columns + 1)[1:-1])
    kept: list[int] = []
    for part in np.split(np.arange(len(x)), edges):
        if len(part):
            values = y[part]
            kept += sorted({int(part[values.argmin()]), int(part[values.argmax()])})
    return x[kept], y[kept]


def mean_of_last(column: Floats, number: int) -> float | None:
    """Of the last `number` values, those that are known; None of none."""
    some = column[-number:]
    some = some[np.isfinite(some)]
    return float(some.mean()) if len(some) else None
