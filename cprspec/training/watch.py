"""The launcher's watch over the ranks of this machine: passes on a wish to stop, notices the dead and the hung, names them.

torch elastic starts the ranks and collects them; it knows that one failed, not which failed first nor where it was. The
watch is a thread beside it. Times are the launcher's own monotonic ones, so a clock that is set does no harm.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from attrs import define, evolve, field

from cprspec.errors import Problem
from cprspec.learning.ranks import LOST_PEER
from cprspec.runs.files import is_gone
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import END, START, STEP, WAIT, RankState, read_ranks
from cprspec.training.exhaustion import LESS_MEMORY
from cprspec.training.machines import Machines
from cprspec.training.signals import STOP_SIGNALS, URGENT_AFTER_S, insists, leave_at_once, show_cursor

POLL_S = 0.25
GRACE_S = 4.0
"""How long the other ranks may take to leave after one has died, seconds."""


@define
class Watched:
    """A rank's process, and what was seen of it. `code`: how it ended, as `Process.exitcode` has it; None: it lives."""

    process: BaseProcess
    rank: int
    code: int | None = None
    by_us: bool = False
    told: bool = False
    state: RankState | None = None
    changed: float = field(factory=time.monotonic)


class Watch:
    """Watches `count` ranks, the first of them `first`, as long as the context is open.

    `find_run` gives the run's directory, None while it is not known here. `machines`: the others that take part.
    `number`: the signal to stop by. `code`: the exit code that `verdict` found to go with it.
    """

    def __init__(
        self,
        find_run: Callable[[], Path | None],
        first: int,
        count: int,
        timeout_s: float,
        machines: Machines | None = None,
    ) -> None:
        self._find_run, self._first, self._count, self._timeout_s = find_run, first, count, timeout_s
        self._run: RunDir | None = None
        self._machines = machines or Machines()
        self.number, self.code = 0, 1
        self._asked_at = 0.0
        self._ranks: list[Watched] = []
        self._elsewhere: dict[int, list[RankState]] = {}
        self._dead: list[Watched] = []
        self._hung: str | None = None
        self._lost = False
        self._ended_at: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True, name="watch")

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._asked) for number in STOP_SIGNALS}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        for watched in self._ranks:
            if watched.code is None and watched.process.exitcode is not None:
                watched.code = watched.process.exitcode
                self._dead.append(watched)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        show_cursor()  # a rank that was killed could not

    @property
    def unbegun(self) -> bool:
        """Whether a rank ended before its first step; to be asked when all are gone. A stop has nothing to save there."""
        return not self._ranks or any(w.state is None or w.state.stage == START for w in self._ranks)

    def verdict(self) -> Problem:
        """Which rank ended the run, and how, or which machine was lost; to be asked when all are gone."""
        own = self._own_verdict()
        told = self._machines.conclude(self._run, own)
        if told is not None:
            found, self.code = told
            return found
        return own or Problem("the ranks lost each other", hint="logs/rankN.log in the run says where each was")

    def _own_verdict(self) -> Problem | None:
        """What ended the run on this machine, None if its ranks only waited for others."""
        if self._lost:
            return None
        if self._hung is not None:
            return Problem(self._hung, hint="the other ranks were stopped; the last checkpoint is untouched")
        dead = [w for w in self._dead if not w.by_us and w.code and not self._gave_up(w)]
        ended = (signal.SIGTERM, signal.SIGINT)  # what an agent ends those with that are left over
        for found in (
            [w for w in dead if w.code is not None and w.code < 0 and -w.code not in ended],
            [w for w in dead if w.code is not None and w.code > 0 and w.code != LOST_PEER],
            [w for w in dead if w.code is not None and w.code < 0],
        ):
            if found:
                return self._how(found[0])
        left = [w for w in self._ranks if w.by_us and w.state is not None and w.state.phase is not None]
        if self._machines.count == 1 and left:
            awaited = next((w for w in left if w.state is not None and not w.state.peers), left[0])
            return Problem(self._not_finished(awaited), hint="the others waited for it in vain, and left")
        return None

    def _gave_up(self, watched: Watched) -> bool:
        """Whether NCCL ended this rank, on a GPU, because it waited for one that works or hangs."""
        state = watched.state
        if watched.code != -signal.SIGABRT or state is None or state.gpu_gib is None or not state.peers:
            return False
        return any(w.state is not None and not w.state.peers for w in self._ranks if w is not watched)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number and insists(number) and now - self._asked_at > URGENT_AFTER_S:
            self._kill(self._ranks)
            leave_at_once(128 + self.number)
        if not self.number:
            self.number, self._asked_at = signal.SIGTERM if number == signal.SIGUSR1 else number, now

    def _go_on(self) -> None:
        while not self._closed.wait(POLL_S):
            with suppress(OSError):  # of a network file system: what could not be read now is read a moment later
                self._look()
            self._judge()

    def _judge(self) -> None:
        """Do what is to be done about what was seen."""
        if len(self._ranks) < self._count:
            self._find()
        self._peek()
        if self.number:
            self._pass_on()
        if self._hung is None and not self._dead:
            self._find_hung()
            self._find_lost()
        if self._ended_at is not None and time.monotonic() - self._ended_at > GRACE_S:
            self._kill(self._ranks)

    def _find(self) -> None:
        known = {w.process for w in self._ranks}
        fresh = [p for p in multiprocessing.active_children() if p not in known]
        for process in sorted(fresh, key=lambda p: p.pid or 0):
            self._ranks.append(Watched(process, self._first + len(self._ranks)))

    def _look(self) -> None:
        """Read what the ranks say; a rank is known by its process, since files of an earlier attempt may lie there."""
        if self._run is None and (path := self._find_run()) is not None:
            self._run = RunDir(path)
        if self._run is None:
            return
        states = read_ranks(self._run)
        self._machines.look(self._run, states)
        own = range(self._first, self._first + self._count)
        for rank in states.keys() - set(own):  # what it said first, of an earlier attempt perhaps, and what it says now
            self._elsewhere[rank] = [*self._elsewhere.get(rank, [])[:1], states[rank]]
        by_pid = {state.pid: state for rank, state in states.items() if rank in own}
        for watched in self._ranks:
            state = by_pid.get(watched.process.pid or 0)
            if state is None:
                continue
            if watched.state is None or state.heartbeat != watched.state.heartbeat:
                watched.changed = time.monotonic()
            watched.rank, watched.state = state.rank, state

    def _peek(self) -> None:
        """See who ended, without collecting: that is for torch elastic to do."""
        for watched in self._ranks:
            if watched.code is None and (code := _exit_code(watched.process)) is not None:
                watched.code = code
                if code:
                    self._dead.append(watched)
                    self._ended_at = self._ended_at or time.monotonic()

    def _pass_on(self) -> None:
        """Tell the ranks to stop; those that have not begun are ended, since there is nothing to save."""
        states = [w.state for w in self._ranks]
        if not states or any(s is None or s.stage == START for s in states):
            self._ended_at = self._ended_at or time.monotonic()
            self._kill(self._ranks)
        for watched in self._ranks:
            if not watched.told and watched.code is None:
                watched.told = True
                _send(watched.process, self.number)

    def _find_hung(self) -> None:
        """A rank hangs when it shows no life, or makes no progress in a step while another one waits for it all the time.

        Nobody knows how long reading data before the first sign of life, saving and evaluating may take.
        """
        going = [w for w in self._ranks if w.state is not None and w.state.stage != END]
        now = time.monotonic()
        lifeless = [w for w in going if now - w.changed > self._timeout_s]
        states = [*self._heard(), *(w.state for w in going if w.state is not None)]
        waited = any(state.peers_s > self._timeout_s for state in states)
        hung = lifeless or ([w for w in going if self._is_stuck(w.state)] if waited else [])
        if hung:
            gone = self._run is not None and is_gone(self._run.path)
            self._hung = f"{self._run.path}: the run is gone" if gone and self._run else self._not_finished(hung[0])
            self._ended_at = now
            self._kill(hung)

    def _is_stuck(self, state: RankState | None) -> bool:
        return state is not None and state.stage in (WAIT, STEP) and state.stage_s > self._timeout_s and not state.peers

    def _find_lost(self) -> None:
        """Another machine is lost when its ranks show no life while one here waits for it, or when all wait for all.

        Some waits have no other limit.
        """
        waits = [w.state is not None and w.state.peers_s > self._timeout_s for w in self._ranks]
        theirs = [state.peers_s > self._timeout_s for state in self._heard()]
        cut_off = bool(theirs) and all(theirs) and all(waits)
        if any(waits) and (cut_off or self._machines.silent(self._timeout_s)):
            self._lost, self._ended_at = True, time.monotonic()
            self._kill(self._ranks)

    def _heard(self) -> list[RankState]:
        """What ranks of other machines say that have said something new since this watch began."""
        return [said[-1] for said in self._elsewhere.values() if said[0].heartbeat != said[-1].heartbeat]

    def _not_finished(self, watched: Watched) -> str:
        state = self._place(watched)
        if state.stage not in (WAIT, STEP):
            return f"rank {watched.rank} has not gone on for {self._timeout_s:g} s, last seen {state.where()}"
        where = f"step {state.step} of phase '{state.phase}'" + (f" (in: {state.file})" if state.file else "")
        return f"rank {watched.rank} has not finished {where} for {self._timeout_s:g} s"

    def _how(self, watched: Watched) -> Problem:
        """How a rank ended, and where it was last seen."""
        where = f", last seen {self._place(watched).where()}" if watched.state is not None else " before it began"
        code = watched.code or 0
        if code > 0:
            self.code = code
            hint = "its own message stands above"
            return Problem(f"rank {watched.rank} failed (exit code {code}){where}", hint=hint)
        name = signal.Signals(-code).name
        cause = " (out of memory?)" if name == "SIGKILL" else ""
        hint = "its log file says more"
        if cause:
            hint = f"`dmesg` says whether the system did it for want of memory; if so, {LESS_MEMORY}"
        return Problem(f"rank {watched.rank} was killed by {name}{cause}{where}", hint=hint)

    def _place(self, watched: Watched) -> RankState:
        """Where a rank is: ranks go in step, so it has begun the step that another one of its phase waits in."""
        state = watched.state
        assert state is not None
        others = [w.state for w in self._ranks if w.state is not None and w.state.phase == state.phase]
        latest = max((s.step for s in others if s.step is not None), default=state.step)
        if latest == state.step:
            return state
        return evolve(state, step=latest, stage=STEP, file=None, peers=False, peers_s=0.0)

    def _kill(self, ranks: list[Watched]) -> None:
        for watched in ranks:
            if watched.code is None and _exit_code(watched.process) is None and watched.process.pid:
                watched.by_us = True
                _send(watched.process, signal.SIGKILL)


def _send(process: BaseProcess, number: int) -> None:
    """Send a signal to a rank, which may be gone by now."""
    if process.pid:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _exit_code(process: BaseProcess) -> int | None:
    """How a child ended, None while it lives; it can still be collected afterwards."""
    assert process.pid is not None
    if not hasattr(os, "waitid"):
        return process.exitcode  # macOS before Python 3.13: this collects it, and torch elastic still hears the code
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return process.exitcode  # collected already
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
