"""What a run does right now, in two or three lines of words and figures; and what someone should look at."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
from rich.text import Text

from cprspec.runs.doing import Doing
from cprspec.runs.glance import Glance
from cprspec.runs.history import History, PhaseHistory
from cprspec.runs.telling import duration
from cprspec.tui.curves import mean_of_last
from cprspec.tui.text import bar, figure, lines_text, percent, plain
from cprspec.tui.widgets.line import Line

COLLAPSED = 0.25
"""An embedding spread below this is called a collapse: 1 fills the sphere, 0 is one point."""

_RECENT = 10

_ROOMY = 110
"""Columns from which on there is room for a bar."""


class Facts(Line):
    """Place, pace, and where the time of a step goes."""

    def show(self, phase: PhaseHistory | None, glance: Glance) -> None:
        """Draw the lines for the current `phase`."""
        lines = [_doing(glance.doing)] if glance.doing else []
        if glance.evaluation is None and not (glance.doing and phase is None):
            lines.append(_place(phase, glance))
            if phase is not None and len(phase.steps):
                lines.append(_throughput(phase, self.app.size.width))
        self.say(lines_text(lines))


def _doing(now: Doing) -> Text:
    text = plain(now.words, style="bold")
    return text if now.since_s is None else text.append(f", for {duration(now.since_s)}")


def _place(phase: PhaseHistory | None, glance: Glance) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    step, started = glance.step, phase.started if phase else None
    if phase is not None and phase.finished is not None and started is not None:
        of = started.epochs * started.steps_per_epoch
        text.append(f"{started.epochs} epochs, {of} steps in {duration(phase.finished.seconds_s)}")
        if len(phase.epochs):
            text.append(f", loss {figure(phase.epochs['loss'][-1])}")
    elif step is not None and started is not None:
        of = started.epochs * started.steps_per_epoch
        text.append(f"epoch {step.epoch}/{started.epochs}  step {step.step + 1}/{of}  loss {figure(step.loss)}")
        if glance.status.state == "running":
            text.append(f"  {step.clips_per_s:.0f} clips/s")
        if step.warm_up:
            text.append("  filling the queue")
    elif started is not None and started.reused_from is not None:
        text.append("reused from ").append_text(plain(started.reused_from))
    else:
        text.append("no step yet", style="dim")
    if glance.left_s is not None:
        text.append(f"  {duration(glance.left_s)} left in phase", style="bold")
    if glance.recall_1 is not None:
        text.append(f"  R@1 {percent(glance.recall_1)}")
    return text


def _throughput(phase: PhaseHistory, width: int) -> Text:
    """Of the last steps: the share of time that waited for data, and what workers spent on decoding and augmenting."""
    means = {
        name: mean_of_last(np.array(phase.steps[name][-_RECENT:]), _RECENT)
        for name in ("step_s", "wait_s", "decode_s", "augment_s")
    }
    step_s, wait_s = means["step_s"], means["wait_s"]
    text = Text(no_wrap=True, overflow="ellipsis")
    if not step_s or wait_s is None:
        return text
    share = min(1.0, max(0.0, wait_s / step_s))
    text.append(f"step {_seconds(step_s)}, waits for data {_seconds(wait_s)} ({percent(share, 0)} %)")
    if width >= _ROOMY:
        text.append(f" [{bar(share, 12)}]", style="yellow" if share > 0.3 else "")
    if means["decode_s"] is not None:
        text.append(f"  workers: decode {_seconds(means['decode_s'])}")
    if means["augment_s"] is not None:
        text.append(f", augment {_seconds(means['augment_s'])}")
    if len(phase.epochs):
        text.append(f"  memory {figure(phase.epochs['rss_gib'][-1])} GiB")
    return text


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


class Warnings(Line):
    """What someone should look at, in words; gone while there is nothing."""

    def show(self, glance: Glance, history: History, phase: PhaseHistory | None) -> None:
        """Draw one line for each warning."""
        some = warnings(glance, history, phase)
        self.display = bool(some)
        self.say(Text("\n").join(Text("! ", style="bold yellow").append_text(plain(line)) for line in some[:3]))


def warnings(glance: Glance, history: History, phase: PhaseHistory | None) -> Sequence[str]:
    """Everything about a run that someone should look at, the gravest first."""
    status, found = glance.status, list[str]()
    if status.state == "stale":
        age = "an unknown time" if status.heartbeat_age_s is None else duration(status.heartbeat_age_s)
        why = "killed: its process is dead" if status.gone else "killed, hung, or cut off"
        found.append(f"silent for {age}: {why} (pid {status.pid} on host {status.host})")
    elif status.state in {"failed", "stopped"} and glance.why:
        found.append(f"{status.state}: {glance.why}")
    if status.gone or status.state in {"failed", "stopped"}:
        found.append(f"go on with: cprspec run {shlex.quote(str(glance.run.path))}")
    if phase is not None and len(phase.steps):
        spread = mean_of_last(np.array(phase.steps["spread"][-_RECENT:]), _RECENT)
        if spread is not None and spread < COLLAPSED and not phase.warm_up:
            found.append(
                f"embeddings collapse: spread {spread:.2f}, so all clips look nearly alike (1 is well spread, 0 one point)"
            )
        if np.isnan(phase.steps["loss"][-1]):
            found.append("the loss is not a number")
    if history.problem is not None and status.state != "starting" and status.preparing is None:  # it has no log yet
        found.append(history.problem)
    found += [problem for problem in glance.problems if problem != glance.why]
    return found
