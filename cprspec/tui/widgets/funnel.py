"""The funnel of a cascade: after each stage, how many survive, what share of them is right, and what recall is left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from cprspec.tui.mining import Stage
from cprspec.tui.text import NOTHING, bar, percent
from cprspec.tui.widgets.line import Line


class Funnel(Line):
    """One line for each stage; survivors as bars on a logarithmic scale, as each stage keeps a share."""

    def show(self, stages: Sequence[Stage], width: int) -> None:
        """Draw the stages within `width` cells."""
        room = max(6, min(30, width - 44))
        most = max((stage.survivors or 0 for stage in stages), default=0)
        text = Text(f"{'funnel':<8}{'survivors':>10} {'':<{room}} {'right %':>8} {'recall %':>9}\n", style="bold")
        for stage in stages:
            name = "bank" if stage.stage == 0 else f"stage {stage.stage}"
            count = NOTHING if stage.survivors is None else str(stage.survivors)
            share = math.log1p(stage.survivors or 0) / math.log1p(most) if most else 0.0
            text.append(f"{name:<8}{count:>10} ").append(bar(share, room), style="cyan")
            text.append(f" {percent(stage.precision):>8} {percent(stage.recall):>9}\n")
        if not stages:
            text = Text("no funnel: nothing was mined, or there are no labels", style="dim")
        text.rstrip()
        text.no_wrap, text.overflow = True, "ellipsis"
        self.say(text)
