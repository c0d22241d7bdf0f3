"""The phases of a run as a pipeline, each with its state in a sign and in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from cprspec.runs.glance import Glance
from cprspec.runs.history import History, PhaseHistory
from cprspec.runs.telling import clock, duration
from cprspec.tui.text import fit
from cprspec.tui.widgets.line import Line


class Pipeline(Line):
    """`✓ rgb → ▶ cycle 12/30 → · last`; the chosen phase is underlined."""

    def show(self, names: Sequence[str], history: History, glance: Glance, chosen: str | None) -> None:
        """Draw the phases `names`, in order, as far as `history` tells about them, and when the run began."""
        text = Text()
        for number, name in enumerate(names):
            if number:
                text.append(" → ", style="dim")
            part = _phase_text(name, history.phases.get(name), glance)
            if name == chosen:
                part.stylize("underline bold")
            text.append_text(part)
        if glance.evaluation is not None:
            text.append(" → ", style="dim").append("▶ ", style="green")
            text.append_text(fit(glance.evaluation.name, 30))
        if glance.evaluating is not None:
            text.append(f" {glance.evaluating.epoch + 1}/{glance.evaluating.of}")
        if (times := _times(history)) and text.cell_len + 2 + len(times) <= self.app.size.width:
            text.append(f"  {times}", style="dim")
        self.say(text)


def _times(history: History) -> str:
    if history.run_started is None:
        return ""
    return f"began {clock(history.run_started.time)}, {duration(history.t_s)} of work"


def _phase_text(name: str, phase: PhaseHistory | None, glance: Glance) -> Text:
    short = fit(name, 30)
    started = phase.started if phase else None
    if phase is None or started is None:
        return Text("· ").append_text(short).append("")
    if started.reused_from is not None:
        return Text("✓ ").append_text(short).append(" reused")
    if phase.finished is not None:
        return Text("✓ ").append_text(short)
    done = f" {len(phase.epochs) and int(phase.epochs['epoch'][-1]) + 1}/{started.epochs}"
    state = glance.status.state
    sign, style = {"running": ("▶", "green"), "failed": ("✗", "red"), "stopped": ("■", "yellow")}.get(
        state, ("!", "yellow")
    )
    return Text(f"{sign} ", style=style).append_text(short).append(done)
