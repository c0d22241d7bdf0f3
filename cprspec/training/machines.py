"""What the launchers of several machines know of each other: heartbeats of ranks, and a last word when a run ends badly.

Both are files in the run directory, which all machines share: `ranks/N.json`, and `machines/N.json` from a launcher whose
ranks did not end well. A machine that was lost says nothing, and so it is told from one where something failed. Times are
this machine's own monotonic ones; other clocks may differ.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from attrs import define, field, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.learning.ranks import LOST_PEER
from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import END, RankState

WORD_S = 60.0
"""How long the last word of another machine is waited for, seconds: NFS may take so long to show it. Only if none comes."""

_POLL_S = 0.25


@frozen
class Seen:
    """A rank of another machine: what it last said, since when it has said the same, and whether it was seen to live."""

    state: RankState
    since: float
    alive: bool = False


@define
class Machines:
    """The other machines of `count`, as machine `number` sees them; each has `nproc` ranks."""

    number: int = 0
    count: int = 1
    nproc: int = 1
    _seen: dict[int, Seen] = field(factory=dict)
    _before: dict[int, bytes] | None = None

    def look(self, run: RunDir, states: dict[int, RankState]) -> None:
        """Take note of what all ranks say now; files of an earlier attempt may lie there."""
        if self.count == 1:
            return
        if self._before is None:
            self._before = {machine: self._read(run, machine) for machine in range(self.count)}
        now = time.monotonic()
        for rank, state in states.items():
            known = self._seen.get(rank)
            if rank // self.nproc == self.number or rank >= self.count * self.nproc:
                continue
            if known is None or known.state.heartbeat != state.heartbeat:
                self._seen[rank] = Seen(state, now, alive=known is not None)

    def silent(self, timeout_s: float) -> bool:
        """Whether a rank of another machine that lived has said nothing for so long, and did not say that it leaves."""
        now = time.monotonic()
        return any(s.alive and s.state.stage != END and now - s.since > timeout_s for s in self._seen.values())

    def conclude(self, run: RunDir | None, own: Problem | None) -> tuple[Problem, int] | None:
        """Tell the others how this machine's ranks ended, and hear why, if they only waited in vain for others.

        `own`: what happened here, None if that was nothing. What ended the run, and the exit code; None if this is not known.
        """
        if self.count == 1 or run is None or not run.path.is_dir():
            return None
        code = LOST_PEER if own is None else 1
        word = {
            "schema": 1, "kind": "machine", "machine": self.number, "host": socket.gethostname(), "code": code,
            "why": None if own is None else own.message, "time": time.time(),
        }  # fmt: skip
        try:
            atomic_write_json(run.machine(self.number), word)
        except CprspecError:
            return None  # the disk is full: what happened here is told here
        return None if own is not None else self._hear(run)

    def _hear(self, run: RunDir) -> tuple[Problem, int]:
        others = [machine for machine in range(self.count) if machine != self.number]
        words: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + WORD_S
        while len(words) < len(others) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            words |= {machine: word for machine in others if (word := self._word(run, machine))}
            for machine, word in words.items():
                if word.get("code") != LOST_PEER:
                    why = clean(str(word.get("why")), MAX_ECHO)
                    return Problem(f"{why}, on {self._name(machine)}", hint="its own output says more"), 1
        lost = [machine for machine in others if machine not in words]
        if lost:
            names = " and ".join(self._name(machine) for machine in lost)
            return Problem(f"{names} was lost{self._where(lost)}", hint="the last checkpoint is untouched"), LOST_PEER
        names = " and ".join(self._name(machine) for machine in others)
        message = f"{names} did not answer{self._where(others)}, and left, too"
        return Problem(message, hint="the network between the machines failed"), LOST_PEER

    def _name(self, machine: int) -> str:
        hosts = {seen.state.host for rank, seen in self._seen.items() if rank // self.nproc == machine and seen.alive}
        return f"machine {machine} ({clean(', '.join(sorted(hosts)), MAX_ECHO)})" if hosts else f"machine {machine}"

    def _where(self, machines: list[int]) -> str:
        """Where its first rank was last seen."""
        ranks = [rank for rank, seen in sorted(self._seen.items()) if rank // self.nproc in machines and seen.alive]
        return f" (rank {ranks[0]} last seen {clean(self._seen[ranks[0]].state.where(), 300)})" if ranks else ""

    def _word(self, run: RunDir, machine: int) -> dict[str, Any] | None:
        """What a machine has said at the end of this attempt."""
        content = self._read(run, machine)
        if not content or content == (self._before or {}).get(machine):
            return None
        try:
            word = json.loads(content)
        except ValueError:
            return None
        return word if isinstance(word, dict) and word.get("kind") == "machine" else None

    def _read(self, run: RunDir, machine: int) -> bytes:
        try:
            return run.machine(machine).read_bytes()
        except OSError:
            return b""
