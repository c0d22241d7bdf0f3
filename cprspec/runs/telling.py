"""A run's events as plain lines: what `run` prints away from a terminal, and `watch` anywhere.

Text from events stays as it is; whoever prints a line cleans it. Times left come from the run's monotonic clock.
"""

from __future__ import annotations

from datetime import datetime

from cprspec.runs import events

LINE_EVERY_S = 5.0
"""Seconds of the run between two lines about steps."""


class Narrator:
    """Follows the events of a run: where it is, what it did last, how long the phase will take, and a line about each."""

    def __init__(self) -> None:
        self.phase: events.PhaseStarted | None = None
        self.first: events.Step | None = None
        self.last: events.Step | None = None
        self.epoch: events.Epoch | None = None
        self.evaluating: events.EvaluationStarted | events.Evaluating | None = None
        self._line_t_s = float("-inf")

    def line(self, event: events.Event) -> str | None:
        """Take note of `event`; one line about it, None where there is nothing to say (steps: every few seconds)."""
        match event:
            case events.Step():
                if self.first is None or event.phase != self.first.phase or event.step < self.first.step:
                    self.first = event
                self.last = event
                return self._step_line(event) if self._due(event.t_s) else None
            case events.Epoch():
                self.epoch = event
                return self._epoch_line(event)
            case events.Evaluating():
                self.evaluating = event
                over = event.epoch + 1 == event.of
                return evaluating_line(event) if self._due(event.t_s, always=over) else None
            case events.PhaseStarted():
                self.phase, self.first, self.last, self.epoch = event, None, None, None
                self._line_t_s = event.t_s
            case _:
                pass
        if not isinstance(event, events.Warned):
            self.evaluating = event if isinstance(event, events.EvaluationStarted) else None
        return describe(event)

    def head(self) -> str:
        """Which phase of how many."""
        phase = self.phase
        return f"phase {phase.position + 1} of {phase.of}, {phase.phase}" if phase else "run"

    def seconds_left(self) -> float | None:
        """Seconds until the phase ends at its pace so far, never negative; None while that is unknown."""
        return seconds_left(self.phase, self.first, self.last)

    def _due(self, t_s: float, *, always: bool = False) -> bool:
        if not always and t_s - self._line_t_s < LINE_EVERY_S:
            return False
        self._line_t_s = t_s
        return True

    def _step_line(self, step: events.Step) -> str:
        epochs = f" of {self.phase.epochs}" if self.phase else ""
        parts = [
            f"{self.head()}: epoch {step.epoch}{epochs}",
            f"step {step.step}",
            f"loss {number(step.loss)}",
            f"{step.clips_per_s:.0f} clips/s",
        ]
        if step.warm_up:
            parts.append("filling the queue")
        if (left := self.seconds_left()) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _epoch_line(self, epoch: events.Epoch) -> str:
        return f"{self.head()}: {epoch_words(epoch)}"


def epoch_words(epoch: events.Epoch) -> str:
    """How long an epoch took and what it came to."""
    parts = [
        f"epoch {epoch.epoch} done in {duration(epoch.seconds_s)}",
        f"loss {number(epoch.loss)}",
        f"own key {number(epoch.own_key_accuracy, percent=True)}",
    ]
    if epoch.precision is not None:
        parts.append(f"mining precision {number(epoch.precision, percent=True)}")
    if epoch.cmr_source_median is not None:
        parts.append(f"median CMR {number(epoch.cmr_source_median, percent=True)}")
    return ", ".join([*parts, f"{epoch.clips_per_s:.0f} clips/s"])


def seconds_left(
    phase: events.PhaseStarted | None, first: events.Step | None, last: events.Step | None
) -> float | None:
    """Seconds until `phase` ends at the pace between two of its steps, never negative; None while that is unknown."""
    if phase is None or first is None or last is None or last.step <= first.step:
        return None
    pace_s = max(0.0, last.t_s - first.t_s) / (last.step - first.step)
    return max(0.0, pace_s * (phase.epochs * phase.steps_per_epoch - last.step - 1))


def describe(event: events.Event) -> str | None:
    """One line about an event that is neither a step nor an epoch; None where there is nothing to say."""
    text: str | None
    match event:
        case events.RunStarted():
            phases = f"{len(event.phases)} phases on {event.world_size} process(es)"
            text = f"run of {event.name}, seed {event.seed}: {phases}"
        case events.Resumed():
            text = f"continued: phase {event.phase} from step {event.from_step} (attempt {event.attempt})"
        case events.PhaseStarted():
            text = _phase_line(event)
        case events.PhaseFinished():
            text = f"phase {event.phase} finished in {duration(event.seconds_s)}"
        case events.EvaluationStarted():
            text = f"evaluation {event.name} begins"
        case events.Evaluated():
            text = _evaluated_line(event)
        case events.Warned():
            text = f"warning: {event.message}"
        case events.RunFinished():
            text = f"run finished in {duration(event.seconds_s)}"
        case events.RunFailed():
            text = f"run failed: {event.message}"
        case events.Stopped():
            after = "" if event.step is None else f" after step {event.step}"
            text = f"stopped by {event.signal}{after}; everything is saved"
        case _:
            text = None
    return text


def evaluating_line(event: events.Evaluating) -> str:
    """One line about an evaluation that trains a classifier."""
    on = f"{event.encoder} on {event.dataset}"
    return f"evaluation {event.name}, {on}: epoch {event.epoch} of {event.of}, loss {number(event.loss)}"


def _evaluated_line(event: events.Evaluated) -> str:
    if event.reused_from:
        return f"evaluation {event.name}: taken from {event.reused_from}, where it was made already"
    records = f": {event.records} records" if event.records else ""  # features alone have none
    return f"evaluated {event.name}{records} in {duration(event.seconds_s)}"


def _phase_line(event: events.PhaseStarted) -> str:
    head = f"phase {event.position + 1} of {event.of}, {event.phase}"
    if event.reused_from:
        return f"{head}: taken from {event.reused_from}, where it was trained already"
    miner = f", mined by {event.miner}" if event.miner else ""
    views = " and ".join(event.views)
    return f"{head}: {views}{miner}, {event.epochs} epochs of {event.steps_per_epoch} steps"


def clock(time_s: float) -> str:
    """Unix seconds as month, day and time of this computer's zone."""
    try:
        return f"{datetime.fromtimestamp(time_s):%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "no time"


def duration(seconds: float) -> str:
    """Seconds as people say them: `8 s`, `3 min 05 s`, `2 h 07 min`; never negative."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def number(value: float | None, *, percent: bool = False) -> str:
    """Three digits after the point, or a share in per cent with one; `-` where there is none."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"
