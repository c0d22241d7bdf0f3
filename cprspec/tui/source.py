"""What the monitor knows of the runs: read in another thread, piece by piece, so that the screen stays alive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from cprspec.runs.glance import UNREAD, Glance, Listing
from cprspec.runs.history import History
from cprspec.runs.layout import RunDir
from cprspec.runs.ranks import RankHealth, read_ranks

BUDGET_S = 0.4
"""Seconds that one round of reading takes at most, for the list and for each history."""

FIRST_S = 0.1
"""The same for the first round, which someone waits for."""


@frozen(kw_only=True)
class News:
    """What a round of reading found. `more`: there is something left to read at once."""

    glances: tuple[Glance, ...] = ()
    ranks: tuple[RankHealth, ...] = ()
    more: bool = False

    def glance(self, run: RunDir | None) -> Glance | None:
        """The row of `run`."""
        return next((glance for glance in self.glances if glance.run == run), None)


class Source:
    """The runs below a folder, and the histories of those that are looked at closely."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._listing = Listing(runs)
        self._histories: dict[RunDir, History] = {}
        self._budget_s = FIRST_S

    def history(self, run: RunDir) -> History:
        """The history of `run`, empty until a round of reading has filled it."""
        return self._histories.setdefault(run, History(run))

    def read(self, watched: RunDir | None, others: Sequence[RunDir]) -> News:
        """One round: the list, the run that is watched, and the `others` that are drawn beside it."""
        budget_s, self._budget_s = self._budget_s, BUDGET_S
        glances = self._listing.look(budget_s)
        more = any(glance.status.state == UNREAD for glance in glances)
        ranks: list[RankHealth] = []
        closely = [run for run in (watched, *others) if run is not None]
        for run in closely:
            more = self.history(run).read(budget_s) or more
        if watched is not None:
            ranks = read_ranks(watched, [])
        for run in set(self._histories) - set(closely):  # a long history takes tens of megabytes
            del self._histories[run]
        return News(glances=tuple(glances), ranks=tuple(ranks), more=more)
