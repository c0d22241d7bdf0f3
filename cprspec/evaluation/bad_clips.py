"""Clips of videos that cannot be read, in training: every file named once, counted alike on all ranks, too many end the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from cprspec.data.index import Index
from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.learning.ranks import Ranks
from cprspec.runs.events import Event, Warned
from cprspec.video.tray import Unread


class Counts(Protocol):
    """What is counted, wherever training keeps it: clips `replaced` in the epoch, and the ids of the videos `told` so far."""

    replaced: int
    told: list[int]


@frozen(kw_only=True)
class BadClips:
    """How many of the `clips` of an epoch may be replaced: the share `allowed`."""

    index: Index
    ranks: Ranks
    report: Callable[[Event], None]
    clips: int
    allowed: float

    def count(self, counts: Counts, replaced: int, unread: list[Unread], where: str) -> None:
        """Count a step's: `replaced` of all ranks, `unread` of this one. Every rank comes here, and all raise alike.

        CprspecError when the epoch has too many.
        """
        if not replaced:
            return
        counts.replaced += replaced
        for bad in (bad for some in self.ranks.gather(unread) for bad in some):
            if bad.video not in counts.told:
                counts.told.append(bad.video)
                path, why = self.index.videos[bad.video].path, clean(bad.why, MAX_ECHO)
                self.report(Warned(message=f"{path}: not a readable video: {why}; others take its place"))
        most = int(self.allowed * self.clips)
        if counts.replaced > most:
            names = ", ".join(clean(self.index.videos[v].name, MAX_ECHO) for v in counts.told[:3])
            message = (
                f"{where}: {counts.replaced} of the epoch's {self.clips} clips had to be replaced, and {most} may be; "
                f"not readable: {names}{' ...' if len(counts.told) > 3 else ''}"
            )
            hint = "mend the files or leave them out, or raise launch.bad_clips; the last checkpoint is whole"
            raise CprspecError(Problem(message, hint=hint), exit_code=1)
