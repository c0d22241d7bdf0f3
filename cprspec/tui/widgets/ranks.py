"""The health of each rank: what it does, how old its heartbeat is, memory and processors."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from cprspec.runs.doing import LONG_S
from cprspec.runs.rank_state import END, stage_words
from cprspec.runs.ranks import RankHealth
from cprspec.runs.summary import STALE_S
from cprspec.runs.watch import short_age
from cprspec.tui.text import NOTHING, figure, fit, lines_text
from cprspec.tui.widgets.line import Line

SHOWN = 8


class Ranks(Line):
    """One line for each rank, the troubled ones first where not all have room; gone while none has written."""

    def show(self, ranks: Sequence[RankHealth], *, live: bool, most: int) -> None:
        """Draw `ranks`; of a run that is over (`live` false) an old heartbeat means nothing."""
        self.display = bool(ranks) and most > 0
        first = max((rank.step or 0 for rank in ranks), default=0)
        lines = [(_troubled(rank, live), _line(rank, first, live, self.app.size.width)) for rank in ranks]
        some = sorted(lines, key=lambda line: not line[0])[:most] if len(lines) > most else lines
        text = lines_text(line for _, line in some)
        if len(lines) > most:
            text.append(f"\n  and {len(lines) - most} more ranks", style="dim")
        self.say(text)


def _troubled(rank: RankHealth, live: bool) -> bool:
    return live and (rank.heartbeat_age_s is None or rank.heartbeat_age_s > STALE_S)


def _stage(rank: RankHealth, live: bool) -> str:
    """What it does, and for how long where that is long; of a run that is over, what it did last."""
    words = stage_words(rank.stage or NOTHING, peers=rank.peers)
    if not live:
        return "left" if rank.stage == END else f"last {words}"
    since_s = rank.peers_s if rank.peers else rank.stage_s
    return words if since_s is None or since_s < LONG_S else f"{words} for {short_age(since_s)}"


def _line(rank: RankHealth, first: int, live: bool, width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    if _troubled(rank, live):
        age = "?" if rank.heartbeat_age_s is None else short_age(rank.heartbeat_age_s)
        text.append(f"! rank {rank.rank} silent {age}", style="bold yellow")
    else:
        text.append(f"  rank {rank.rank} ").append_text(fit(_stage(rank, live), 40))
    if rank.step is not None:
        text.append(f"  step {rank.step}")
    behind = first - rank.step if rank.step is not None else 0
    if behind > 1:
        text.append(f" ({behind} behind)", style="yellow")
    text.append(f"  {figure(rank.rss_gib)} GiB")
    if rank.cpu_cores is not None:
        text.append(f"  {rank.cpu_cores:.1f} cores")
    if rank.gpu_use is not None:
        text.append(f"  GPU {100 * rank.gpu_use:.0f} % {figure(rank.gpu_gib)} GiB")
    if rank.file:
        text.append("  ").append_text(fit(rank.file, max(12, width - text.cell_len - 4)))
    return text
