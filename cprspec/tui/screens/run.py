"""One run, live: its phases as a pipeline, what it does now, and its curves beside those of the marked runs."""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from cprspec.runs.glance import Glance
from cprspec.runs.groups import letter
from cprspec.runs.history import History, PhaseHistory
from cprspec.runs.layout import RunDir
from cprspec.tui.curves import AXES, METRICS, SMOOTHINGS, Metric, View, points
from cprspec.tui.screens.pane import Pane
from cprspec.tui.text import fit, short_name
from cprspec.tui.widgets.facts import Facts, Warnings
from cprspec.tui.widgets.line import Line
from cprspec.tui.widgets.pipeline import Pipeline
from cprspec.tui.widgets.plot import Curve, MetricPlot
from cprspec.tui.widgets.ranks import Ranks

PLOT_SIZE = (56, 11)
"""Columns and lines that a plot should have before another is put beside it."""


class RunScreen(Pane):
    """The watched run."""

    NAME = "run"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,down", "turn(1)", "Next plot", key_display="n"),
        Binding("p,up", "turn(-1)", "Previous plot", show=False),
        Binding("right_square_bracket", "phase(1)", "Phase", key_display="[ ]"),
        Binding("left_square_bracket", "phase(-1)", "Previous phase", show=False),
        Binding("x", "axis", "X axis"),
        Binding("z", "one", "One/all"),
        Binding("s", "smooth", "Smooth"),
        Binding("l", "log", "Log"),
        Binding("plus,equals_sign", "zoom(0.5)", "Zoom", key_display="+/-"),
        Binding("minus", "zoom(2.0)", "Zoom out", show=False),
        Binding("left,h", "pan(-1)", "Earlier", show=False),
        Binding("right", "pan(1)", "Later", show=False),
        Binding("0,r", "whole", "Whole curve", show=False),
        Binding("o", "overlay", "Marked"),
        Binding("f", "follow", "Follow the current phase", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._first, self._alone, self._overlay = 0, False, True
        self._arranged: object = None
        self._phase: str | None = None
        """The phase that was chosen; None: follow the current one."""

    def body(self) -> ComposeResult:
        yield Pipeline()
        yield Facts()
        yield Warnings()
        yield Line(id="legend")
        with Grid(id="plots"):
            for metric in METRICS:
                yield MetricPlot(metric)
        yield Ranks()

    def show(self) -> None:
        watched = self.monitor.watched
        glance = self.monitor.news.glance(watched)
        if watched is None or glance is None:
            self.query_one(Pipeline).say("no run is chosen: 1 shows the runs, Enter opens one")
            return
        history = self.monitor.source.history(watched)
        with history.lock:
            names = phase_names(glance, history)
            now = current_phase(glance, history, names)
            chosen = self._phase if self._phase in names else now
            phase, current = history.phases.get(chosen or ""), history.phases.get(now or "")
            self.query_one(Pipeline).show(names, history, glance, chosen)
            self.query_one(Facts).show(current, glance)
            self.query_one(Warnings).show(glance, history, current)
        self.query_one(Ranks).show(
            self.monitor.news.ranks, live=glance.status.state in {"running", "stale"}, most=self.app.size.height // 6
        )
        self._legend(chosen)
        self._arrange()
        for plot in self.query(MetricPlot):
            if plot.display:
                plot.show(self._curves(chosen, plot.metric), self._view, _why_empty(plot.metric, phase))

    def _legend(self, phase: str | None) -> None:
        """Which letter is which run, while several are drawn; and how the curves are drawn."""
        line = self.query_one("#legend", Line)
        view = self._view
        text = fit(f"{phase or 'no phase'} by {view.axis}", 40, "italic")
        if view.axis == "time":
            text.append(" (minutes)")
        if view.window is not None:
            text.append(f", {view.window[0]:.4g} to {view.window[1]:.4g}")
        runs = self._drawn_runs()
        room = (self.app.size.width - text.cell_len) // len(runs) - 5
        for number, run in enumerate(runs if len(runs) > 1 else ()):
            text.append(f"  {letter(number)} ", style="bold").append_text(short_name(run, max(12, room)))
        line.update(text)

    def _drawn_runs(self) -> list[RunDir]:
        watched = self.monitor.watched
        others = [run for run in self.monitor.marked if run != watched] if self._overlay else []
        return [run for run in (watched, *others) if run is not None]

    def _curves(self, phase: str | None, metric: Metric) -> list[Curve]:
        curves = []
        for number, run in enumerate(self._drawn_runs()):
            history = self.monitor.source.history(run)
            with history.lock:
                found = history.phases.get(phase or "")
                if found is None:
                    continue
                x, y = points(found, metric, self._view.axis)
            curves.append(Curve(letter=letter(number), x=x, y=y))
        return curves

    def _arrange(self) -> None:
        """As many plots as have room, beginning with the chosen one."""
        grid = self.query_one("#plots", Grid)
        width, height = grid.size
        across = max(1, min(3, width // PLOT_SIZE[0]))
        down = max(1, height // PLOT_SIZE[1])
        if height < PLOT_SIZE[1] - 3:
            across, down = 1, max(1, height)  # figures only
        number = 1 if self._alone else min(len(METRICS), across * down)
        across = 1 if number == 1 else across
        shown = {(self._first + i) % len(METRICS) for i in range(number)}
        if (across, shown) == self._arranged:
            return
        self._arranged = (across, shown)
        for i, plot in enumerate(self.query(MetricPlot)):
            plot.display = i in shown
        grid.styles.grid_size_columns = across
        grid.styles.grid_size_rows = -(-number // across)

    def action_turn(self, by: int) -> None:
        """Show the next plot first."""
        self._first = (self._first + by) % len(METRICS)
        self.show()

    def action_one(self) -> None:
        """One plot over the whole space, or as many as have room."""
        self._alone = not self._alone
        self.show()

    def action_axis(self) -> None:
        """The next of step, epoch, time."""
        axis = AXES[(AXES.index(self._view.axis) + 1) % len(AXES)]
        self._look(evolve(self._view, axis=axis, window=None))

    def action_smooth(self) -> None:
        """The next of the weights."""
        after = SMOOTHINGS[(SMOOTHINGS.index(self._view.smoothing) + 1) % len(SMOOTHINGS)]
        self._look(evolve(self._view, smoothing=after))

    def action_log(self) -> None:
        """A logarithmic y axis, or a plain one."""
        self._look(evolve(self._view, log=not self._view.log))

    def action_overlay(self) -> None:
        """The marked runs in the same plots, or not."""
        self._overlay = not self._overlay
        self.show()

    def action_zoom(self, by: float) -> None:
        """A part of the x axis, `by` as long as now, around the same middle."""
        if (whole := self._whole()) is None:
            return
        low, high = self._view.window or whole
        middle, half = (low + high) / 2, (high - low) / 2 * by
        if 2 * half >= whole[1] - whole[0]:
            self._look(evolve(self._view, window=None))
        else:
            self._look(evolve(self._view, window=_within((middle - half, middle + half), whole)))

    def action_pan(self, by: int) -> None:
        """A fifth of the window earlier or later."""
        whole, window = self._whole(), self._view.window
        if whole is not None and window is not None:
            shift = by * (window[1] - window[0]) / 5
            self._look(evolve(self._view, window=_within((window[0] + shift, window[1] + shift), whole)))

    def action_whole(self) -> None:
        """The whole x axis again."""
        self._look(evolve(self._view, window=None))

    def action_phase(self, by: int) -> None:
        """Look at another phase, and stay there."""
        watched = self.monitor.watched
        glance = self.monitor.news.glance(watched)
        if watched is None or glance is None:
            return
        history = self.monitor.source.history(watched)
        names = phase_names(glance, history)
        here = self._phase if self._phase in names else current_phase(glance, history, names)
        if here in names:
            self._phase = names[(names.index(here) + by) % len(names)]
            self._look(evolve(self._view, window=None))

    def action_follow(self) -> None:
        """Look at the phase that trains now, whichever it is."""
        self._phase = None
        self._look(evolve(self._view, window=None))

    def _look(self, view: View) -> None:
        self._view = view
        self.show()

    def _whole(self) -> tuple[float, float] | None:
        """From where to where the curves that are drawn reach on the x axis."""
        xs = [curve.x for plot in self.query(MetricPlot) if plot.display for curve in plot.curves if len(curve.x) > 1]
        return (min(float(x[0]) for x in xs), max(float(x[-1]) for x in xs)) if xs else None


def phase_names(glance: Glance, history: History) -> list[str]:
    """The names of all phases, in order, as far as the log tells."""
    started = history.run_started.phases if history.run_started else glance.phases
    return list(dict.fromkeys((*started, *history.phases)))


def current_phase(glance: Glance, history: History, names: list[str]) -> str | None:
    """The phase that trains, or the last that did; reused ones have no curves."""
    name = glance.step.phase if glance.step else glance.status.phase
    if name in history.phases:
        return name
    trained = [name for name in names if name in history.phases and len(history.phases[name].steps)]
    return trained[-1] if trained else (names[0] if names else None)


def _why_empty(metric: Metric, phase: PhaseHistory | None) -> str:
    started = phase.started if phase else None
    if started is None:
        return "the phase has not begun"
    if started.reused_from is not None:
        return f"trained in {started.reused_from}"
    if metric.column in {"precision", "cmr_source_median"}:
        return "this phase mines nothing" if started.miner is None else "nothing mined yet, or no labels"
    return "nothing yet"


def _within(window: tuple[float, float], whole: tuple[float, float]) -> tuple[float, float]:
    """`window` moved into `whole`."""
    shift = max(0.0, whole[0] - window[0]) or min(0.0, whole[1] - window[1])
    return window[0] + shift, window[1] + shift
