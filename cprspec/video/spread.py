"""Work spread over processes of which each may die: a death costs its job, is told as such, and a new process takes over.

The pools of the standard library end when a worker dies; passes over files of strangers must go on.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Generic, TypeVar, cast

from attrs import define, frozen

from cprspec.errors import CprspecError, Problem
from cprspec.processes import sheltered

J = TypeVar("J")
R = TypeVar("R")


JOBS_EACH = 1000
"""Jobs of one process: what libraries leak must not add up to its limit of memory over a large collection."""


@frozen
class Died:
    """What became of a job whose process ended: its `exitcode`, negative for a signal."""

    exitcode: int


@frozen
class _Failed:
    """An exception in the work itself, as text: a mistake of ours."""

    trace: str


@define(eq=False)
class _Worker(Generic[J]):
    process: ForkServerProcess
    connection: Connection
    job: J | None = None
    jobs: int = 0


def spread(
    work: Callable[[J], R], jobs: Iterable[J], processes: int, *, begin: Callable[[], None] | None = None
) -> Iterator[tuple[J, R | Died]]:
    """Each job with its result, as they come. `work` and `begin` (called first in each process) are found by import.

    Every process ends when this one does, when the iterator is closed, and when the jobs do.
    """
    waiting = iter(jobs)
    crew: dict[Connection, _Worker[J]] = {}

    def employ(worker: _Worker[J] | None) -> None:
        """Give the next job to `worker`, or a new one; let it go when there is none, or it had its share."""
        if worker is not None and worker.jobs >= JOBS_EACH:
            _let_go(worker)
            worker = None
        for job in waiting:
            worker = worker or _start(work, begin)
            worker.job = job
            worker.jobs += 1
            crew[worker.connection] = worker
            with suppress(OSError):  # it is dead already, which reading will tell
                worker.connection.send(job)
            return
        if worker is not None:
            _let_go(worker)

    try:
        for _ in range(max(1, processes)):
            employ(None)
        while crew:
            for connection in wait(list(crew)):
                assert isinstance(connection, Connection)
                worker = crew.pop(connection)
                job = worker.job
                assert job is not None
                outcome = _outcome(worker, work)
                employ(None if isinstance(outcome, Died) else worker)
                yield job, outcome
    finally:
        for worker in crew.values():
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


def _start(work: Callable[[J], R], begin: Callable[[], None] | None) -> _Worker[J]:
    context = get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, begin), daemon=True)
    with sheltered():
        process.start()
    theirs.close()
    try:
        ours.recv()  # it is ready: from here on, only a job can be what it dies of
    except (EOFError, OSError) as error:
        process.join()
        hint = "is there memory for more processes?"
        problem = Problem(f"a process that decodes videos died at its start ({process.exitcode})", hint=hint)
        raise CprspecError(problem, exit_code=1) from error
    return _Worker(process, ours)


def _let_go(worker: _Worker[J]) -> None:
    worker.connection.close()
    worker.process.join()


def _outcome(worker: _Worker[J], _work: Callable[[J], R]) -> R | Died:
    try:
        found = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        worker.connection.close()
        return Died(worker.process.exitcode or 0)
    if isinstance(found, _Failed):
        raise RuntimeError(found.trace)
    return cast(R, found)


def _serve(connection: Connection, work: Callable[[J], R], begin: Callable[[], None] | None) -> None:
    """What each process does: jobs until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin()
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            outcome: R | _Failed = work(job)
        except Exception:  # noqa: BLE001  told to the parent, which raises it
            outcome = _Failed(traceback.format_exc())
        connection.send(outcome)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
