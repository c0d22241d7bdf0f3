"""The ranks of this machine through torch elastic: started, watched, and if asked for started again."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from attrs import evolve, frozen

from cprspec import faults
from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean, print_problems
from cprspec.learning.ranks import LostPeerError
from cprspec.processes import die_with_parent, leave_untidied
from cprspec.runs.layout import RunDir
from cprspec.training.machines import Machines
from cprspec.training.meeting import meet, not_met
from cprspec.training.nodes import Nodes
from cprspec.training.report import note_end
from cprspec.training.request import Request
from cprspec.training.signals import Stopped
from cprspec.training.watch import Watch
from cprspec.training.worker import work

_JOINING_S = 300
"""How long torch elastic may take once all machines are there, seconds."""


@frozen
class Ending:
    """How a rank ended that was not in trouble: the run's directory, or the signal it was stopped by."""

    run: Path | None
    stopped_by: int = 0


def run_ranks(request: Request, nodes: Nodes) -> Path:
    """Start the ranks of this machine, again as often as `nodes` allows; the run's directory.

    Raises `Stopped`, and CprspecError with which rank or machine ended the run, whether or not it was asked to stop before.
    """
    books = RunDir(request.run_dir) if request.run_dir and nodes.node_rank == 0 else None
    timeout_s = request.resolve().launch.timeout_s
    for attempt in range(nodes.restarts + 1):
        before = _not_finite(books)
        machines = Machines(nodes.node_rank, nodes.nnodes, nodes.nproc)
        with Watch(request.run_path, nodes.node_rank * nodes.nproc, nodes.nproc, timeout_s, machines) as watch:
            ending = _start_ranks(request, nodes, watch)
        if ending is not None and ending.run is not None:
            return ending.run
        if ending is not None or (watch.number and watch.unbegun):
            number = ending.stopped_by if ending else watch.number
            why = f"by {signal.Signals(number).name}"
            if ending is None and (run := request.run_path()):  # ranks did not agree: other machines only lose these
                machines.conclude(RunDir(run), Problem(f"the run was stopped {why}"))
            _close_books(books, "stopped", why)
            raise Stopped(number, None)
        problem = watch.verdict()
        recurs = watch.code == 2 or _not_finite(books) != before
        if attempt == nodes.restarts or watch.number or recurs:
            break
        again = f"{problem.message}; starting again from the last checkpoint ({attempt + 1} of {nodes.restarts})"
        _close_books(books, "running", again)
        print(clean(again), file=sys.stderr, flush=True)
        os.environ.pop(faults.VARIABLE, None)  # a fault is suffered once
    _close_books(books, "failed", str(problem))
    raise CprspecError(problem, exit_code=watch.code)


def _not_finite(run: RunDir | None) -> set[tuple[Path, int]]:
    """What losses that are not finite have left in the run. They come again: every step is made as it was before."""
    found = run.phases.glob("*/non-finite-step-*.json") if run is not None else ()
    return {(path, path.stat().st_mtime_ns) for path in found}


def _close_books(run: RunDir | None, state: str, why: str) -> None:
    """Write down how an attempt ended, if rank 0 did not; the launcher is the run's writer once the ranks are gone.

    Where that cannot be done it is a warning: how the attempt ended is what matters.
    """
    if run is None or not run.path.is_dir():
        return
    try:
        note_end(run, state, why)
    except CprspecError as error:
        print_problems(evolve(problem, warning=True) for problem in error.problems)


def _start_ranks(request: Request, nodes: Nodes, watch: Watch) -> Ending | None:
    """Have torch elastic run this machine's ranks once: how they ended, None if one of them failed."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # How a run ends is told by the watch. The agent's logger has a level of its own: it would print a traceback at a good end
    # when another machine left a moment before.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    several = nodes.nnodes > 1
    store = meet(nodes, lambda: watch.number) if several else None
    if several and store is None:
        return Ending(None, watch.number)
    config = LaunchConfig(
        min_nodes=nodes.nnodes,
        max_nodes=nodes.nnodes,
        nproc_per_node=nodes.nproc,
        run_id="cprspec",
        rdzv_backend="static" if several else "c10d",
        # Port 0: the system finds a free one, so that two runs never collide.
        rdzv_endpoint=nodes.rdzv_endpoint or "localhost:0",
        rdzv_configs={"rank": nodes.node_rank, "timeout": _JOINING_S} if several else {},
        max_restarts=0,
        monitor_interval=0.5,
        start_method="spawn",
        signals_to_handle="SIGQUIT",  # the watch has the others, and lets the ranks save
    )
    try:
        endings = elastic_launch(config, child_main)(request)
    except ChildFailedError:
        return None
    except DistError as error:
        if not several:
            raise
        raise not_met(nodes, clean(str(error).splitlines()[0], MAX_ECHO)) from error
    finally:
        del store  # machine 0 kept it for the others until here
    # What any of them was stopped by: they agreed on it.
    last: Ending = max(endings.values(), key=lambda ending: ending.stopped_by)
    return last


def child_main(request: Request) -> Ending:
    """The entry of a rank under torch elastic: being stopped is an end like another, a failure leaves by its exit code."""
    die_with_parent()
    ending, code = Ending(None), 0
    try:
        ending = Ending(work(request))
    except Stopped as stopped:
        ending = Ending(None, stopped.number)
    except LostPeerError as error:
        code = error.exit_code
    except CprspecError as error:
        print_problems(error.problems)
        sys.stderr.flush()
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - said with the rank's number; its log file has the traceback
        rank = os.environ.get("RANK")
        print(clean(f"rank {rank} failed: {type(error).__name__}: {error}"), file=sys.stderr, flush=True)
        code = 1
    # Tidying up would take a second, too, and with a lost peer in its groups perhaps for ever.
    leave_untidied(code)
    if code:
        # Out here, where no traceback keeps the data workers' iterator alive: leaving would wait for them for ever.
        raise SystemExit(code)
    return ending
