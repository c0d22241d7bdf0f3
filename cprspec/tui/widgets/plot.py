"""One metric's curves: a line of figures above, and where there is room the plot itself, drawn by textual-plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual_hires_canvas import HiResMode
from textual_plot import NumericAxisFormatter, PlotWidget

from cprspec.tui.curves import Floats, Metric, View, drawn
from cprspec.tui.text import figure, fit, sparkline
from cprspec.tui.widgets.line import Line

SMALLEST = (30, 7)
"""Columns and lines below which a plot becomes its line of figures."""

_LETTERED = (0.3, 0.65, 1.0)
"""Where along a curve the letter of its run stands, of the points that are drawn."""


@frozen(kw_only=True)
class Curve:
    """A curve of one run; `letter` names the run along its line, as colour alone would not do."""

    letter: str
    x: Floats
    y: Floats


class _Formatter(NumericAxisFormatter):
    """Ticks in few characters, as long as they differ so."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        for labels in ([figure(round(tick, 12)) for tick in ticks], [f"{tick:.4g}" for tick in ticks]):
            if len(set(labels)) == len(labels):
                return labels
        return super().get_labels_for_ticks(ticks)


class _LogFormatter(NumericAxisFormatter):
    """Ticks of an axis that holds log10 of its values."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [figure(10.0**tick) for tick in ticks]


class MetricPlot(Vertical):
    """A metric: `show` draws it. Small plots are figures only."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(id=f"plot-{metric.column}")
        self.metric = metric
        self.curves: tuple[Curve, ...] = ()
        self._view = View()
        self._empty = ""

    def compose(self) -> ComposeResult:
        yield Line(classes="plot-head")
        plot = PlotWidget(allow_pan_and_zoom=False)
        plot.can_focus = False
        yield plot

    def on_mount(self) -> None:
        for plot in self.query(PlotWidget):  # none, where the monitor is left while it draws this
            plot.margin_top, plot.margin_bottom, plot.margin_left = 0, 1, 8

    def show(self, curves: Sequence[Curve], view: View, empty: str = "nothing yet") -> None:
        """Draw `curves`, the watched run's first; `empty` is said when none has a point."""
        now = tuple(curves)
        if view == self._view and empty == self._empty and _same(now, self.curves):
            return
        self.curves, self._view, self._empty = now, view, empty
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width, height = self.size
        head, plot = self.query_one(".plot-head", Line), self.query_one(PlotWidget)
        roomy = width >= SMALLEST[0] and height >= SMALLEST[1]
        some = any(len(curve.x) for curve in self.curves)
        plot.display = roomy and some
        head.say(self._head(width, spark=not roomy))
        if not plot.display:
            return
        plot.clear()
        variables = self.app.theme_variables
        # Themes of the terminal's own colours name them as Textual does; the plot wants Rich's names.
        colours = [
            variables.get(name, "default").removeprefix("ansi_")
            for name in ("primary", "accent", "warning", "success", "error")
        ]
        plot.set_y_formatter(_LogFormatter() if self._view.log else _Formatter())
        window = self._view.window or (None, None)
        plot.set_xlimits(*(self._one_place() if window == (None, None) else window))
        plot.set_ylimits(*self._flat())
        # Drawn backwards, so that the watched run lies on top.
        for number in reversed(range(len(self.curves))):
            curve, colour = self.curves[number], colours[number % len(colours)]
            x, y = drawn(curve.x, curve.y, self._view, max(10, width - 10))
            if len(x) == 0:
                continue
            plot.plot(x, y, line_style=colour, hires_mode=HiResMode.BRAILLE)
            if len(self.curves) > 1 or len(x) == 1:
                inside = np.flatnonzero(x <= window[1]) if window[1] is not None else np.arange(len(x))
                at = sorted({int(inside[round(share * (len(inside) - 1))]) for share in _LETTERED if len(inside)})
                plot.scatter(x[at], y[at], marker=curve.letter, marker_style=f"bold {colour}")

    def _one_place(self) -> tuple[float | None, float | None]:
        """Limits of the x axis where there is one place only, about which the plot would show millionths; else None."""
        places = {float(place) for curve in self.curves if len(curve.x) for place in (curve.x[0], curve.x[-1])}
        if len(places) != 1:
            return None, None
        (place,) = places
        return place - 1, place + 1

    def _flat(self) -> tuple[float | None, float | None]:
        """Limits of the y axis for curves that never change, which the plot would magnify to noise; else None."""
        values = {float(value) for curve in self.curves if len(curve.y) for value in (curve.y.min(), curve.y.max())}
        if len(values) != 1 or self._view.log:
            return None, None
        (value,) = values
        return (0.9 * value, 1.1 * value) if value > 0 else (value - 1, value + 1)

    def _head(self, width: int, *, spark: bool) -> Text:
        """Name and figures: the last value, and the lowest and highest of the watched run."""
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(self.metric.name, style="bold")
        flags = [f"smoothed {self._view.smoothing:g}"] if self._view.smoothing else []
        flags += ["log"] if self._view.log else []
        if flags:
            text.append(f" ({', '.join(flags)})", style="italic")
        for curve in self.curves:
            if not len(curve.y):
                continue
            name = f" {curve.letter}" if len(self.curves) > 1 else ""
            text.append(f" {name} {figure(float(curve.y[-1]))}")
            if len(self.curves) == 1:
                text.append(f"  from {figure(float(curve.y.min()))} to {figure(float(curve.y.max()))}", style="dim")
                if spark and width - text.cell_len > 6:
                    text.append(f"  {sparkline(curve.y.tolist(), min(24, width - text.cell_len - 3))}")
        if not any(len(curve.y) for curve in self.curves):
            text.append("  ")
            text.append_text(fit(self._empty, max(10, width - text.cell_len - 1), "dim"))
        return text


def _same(a: Sequence[Curve], b: Sequence[Curve]) -> bool:
    return len(a) == len(b) and all(
        p.letter == q.letter and np.array_equal(p.x, q.x) and np.array_equal(p.y, q.y)
        for p, q in zip(a, b, strict=True)
    )
