"""Starting a run: one process in place, several through torch elastic, or as one of those that torchrun started."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve, frozen

from cprspec import faults
from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean, print_problems
from cprspec.learning.ranks import LOST_PEER, LostPeerError
from cprspec.processes import die_with_parent, leave_untidied
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Resolved
from cprspec.training.division import check_ranks
from cprspec.training.machines import Machines
from cprspec.training.ports import check_endpoint
from cprspec.training.prepare import fill_store, read_data, short_videos
from cprspec.training.progress import filling
from cprspec.training.report import note_end
from cprspec.training.request import Request
from cprspec.training.signals import Stopped, forget_request
from cprspec.training.space import check_space
from cprspec.training.watch import Watch
from cprspec.training.worker import preload_data_workers, work
from cprspec.video.store import Store


@frozen(kw_only=True)
class Nodes:
    """How many processes on how many machines, and where they meet; one machine needs no endpoint.

    `restarts`: how often they are started again from the last checkpoint when one of them dies.
    """

    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    rdzv_endpoint: str = ""
    restarts: int = 0

    @property
    def in_place(self) -> bool:
        """Whether this process does the work itself; one that shall be started again needs somebody who does that."""
        return self.nproc * self.nnodes == 1 and not self.restarts


@frozen
class Ending:
    """How a rank ended that was not in trouble: the run's directory, or the signal it was stopped by."""

    run: Path | None
    stopped_by: int = 0


def launch_all(requests: list[Request], nodes: Nodes) -> tuple[int, list[Path]]:
    """Run `requests` in turn, going on after one that fails; the worst exit code, and the runs that finished.

    A run that is stopped ends them all.
    """
    worst, done, failed = 0, list[Path](), list[str]()
    for number, request in enumerate(requests, start=1):
        if len(requests) > 1:
            _say(f"run {number} of {len(requests)}: {request.title}")
        try:
            done.append(launch(request, nodes))
        except Stopped as stopped:
            if number < len(requests):
                _say(f"not begun: {', '.join(later.title for later in requests[number:])}")
            return 128 + stopped.number, done
        except CprspecError as error:
            print_problems(error.problems)
            worst = max(worst, error.exit_code)
            failed.append(request.title)
    if failed and len(requests) > 1:
        _say(f"{len(failed)} of {len(requests)} runs failed: {', '.join(failed)}")
    return worst, done


def _say(text: str) -> None:
    if int(os.environ.get("RANK", "0")) == 0:  # one of the ranks that torchrun started, or the only process
        print(clean(text), file=sys.stderr, flush=True)


def launch(request: Request, nodes: Nodes) -> Path:
    """Run `request` to its end and return the run's directory. Raises `Stopped`, `CprspecError`."""
    if _under_torchrun():
        return work(request)
    preload_data_workers()
    resolved = request.resolve()
    check_ranks(resolved, nodes.nproc * nodes.nnodes)
    if nodes.node_rank == 0:
        check_place(request, resolved)
    # Before any rank starts: what is wrong with the data is said once, and preparing shows its progress.
    indices, store = read_data(resolved, print_problems), Store(cache=resolved.launch.cache)
    with filling() as progress:
        fill_store(resolved, indices, store, os.cpu_count() or 1, progress)
    print_problems(short_videos(resolved, indices, store))
    if request.run_dir is None and nodes.node_rank == 0:
        request = evolve(request, run_dir=RunDir.create(request.runs, resolved.name).path)
    with _telling(request, nodes) as request:
        try:
            return work(request) if nodes.in_place else _launch_elastic(evolve(request, child=True), nodes)
        except Stopped:
            _say(f"stopped; go on with: {_resume_command(request, nodes)}")
            raise
        except CprspecError as error:
            run = request.run_path()
            if error.exit_code not in (1, LOST_PEER) or run is None or not run.is_dir():
                raise
            # It failed on its way: what it has done is not lost.
            *others, last = error.problems
            way_on = f"go on with: {_resume_command(request, nodes)}"
            hint = f"{last.hint}; {way_on}" if last.hint else way_on
            raise CprspecError([*others, evolve(last, hint=hint)], error.exit_code) from error


@contextmanager
def _telling(request: Request, nodes: Nodes) -> Iterator[Request]:
    """`request`, with a place where a rank tells which run it is, if another machine makes it; gone afterwards."""
    if request.run_dir is not None or nodes.node_rank == 0:
        yield request
        return
    with TemporaryDirectory(prefix="cprspec-") as folder:
        yield evolve(request, tell=Path(folder) / "run")


def check_place(request: Request, resolved: Resolved) -> None:
    """Whether the run can be written where it shall lie: not read-only, nobody else's now, and large enough."""
    run = RunDir(request.run_dir) if request.run_dir else None
    if run is not None:
        with run.lock():
            forget_request(run.stop_requested)  # rank 0 takes the lock again, later; who has it now is said at once
    check_space(resolved, request.runs, run)


def _resume_command(request: Request, nodes: Nodes) -> str:
    parts = ["cprspec run", shlex.quote(str(request.run_path() or "RUN"))]
    parts += [f"--nproc {nodes.nproc}"] if nodes.nproc > 1 else []
    if nodes.nnodes > 1:
        parts.append(f"--nnodes {nodes.nnodes} --node-rank {nodes.node_rank} --rdzv-endpoint {nodes.rdzv_endpoint}")
    parts += [f"--restarts {nodes.restarts}"] if nodes.restarts else []
    parts += [f"--registry {folder}" for folder in request.registries]
    parts += [f"--plugin {file}" for file in request.plugins]
    return " ".join(parts)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _launch_elastic(request: Request, nodes: Nodes) -> Path:
    """Start the ranks of this machine, again as often as `nodes` allows; the run's directory."""
    if nodes.nnodes > 1 and not nodes.rdzv_endpoint:
        raise CprspecError(Problem("several machines need --rdzv-endpoint HOST:PORT, the same on each"))
    if nodes.nnodes > 1 and nodes.restarts:
        hint = "start the ranks with torchrun --max-restarts, which brings several machines together again"
        raise CprspecError(Problem("--restarts is for one machine", hint=hint))
    if nodes.rdzv_endpoint:
        check_endpoint(nodes.rdzv_endpoint, first=nodes.node_rank == 0)
    run = RunDir(request.run_dir) if request.run_dir else None
    timeout_s = request.resolve().launch.timeout_s
    for attempt in range(nodes.restarts + 1):
        machines = Machines(nodes.node_rank, nodes.nnodes, nodes.nproc)
        with Watch(request.run_path, nodes.node_rank * nodes.nproc, nodes.nproc, timeout_s, machines) as watch:
            ending = _start_ranks(request, nodes, watch)
        stopped_by = watch.number or (ending.stopped_by if ending else 0)
        if ending is not None and ending.run is not None:
            return ending.run
        books = run if nodes.node_rank == 0 else None
        if stopped_by:
            _close_books(books, "stopped", f"by {signal.Signals(stopped_by).name}")
            raise Stopped(stopped_by, None)
        problem = watch.verdict()
        if attempt == nodes.restarts:
            _close_books(books, "failed", str(problem))
            break
        again = f"{problem.message}; starting again from the last checkpoint ({attempt + 1} of {nodes.restarts})"
        _close_books(books, "running", again)
        _say(again)
        os.environ.pop(faults.VARIABLE, None)  # a fault is suffered once
    raise CprspecError(problem, exit_code=watch.code)


def _close_books(run: RunDir | None, state: str, why: str) -> None:
    """Write down how an attempt ended, if rank 0 did not; the launcher is the run's writer once the ranks are gone."""
    if run is not None and run.path.is_dir():
        note_end(run, state, why)


def _start_ranks(request: Request, nodes: Nodes, watch: Watch) -> Ending | None:
    """Have torch elastic run this machine's ranks once: how they ended, None if one of them failed."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # How a run ends is told by the watch. The agent's logger has a level of its own: it would print a traceback at a good end
    # when another machine left a moment before.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=nodes.nnodes,
        max_nodes=nodes.nnodes,
        nproc_per_node=nodes.nproc,
        run_id="cprspec",
        rdzv_backend="c10d" if nodes.nnodes == 1 else "static",
        # Port 0: the system finds a free one, so that two runs never collide.
        rdzv_endpoint=nodes.rdzv_endpoint or "localhost:0",
        rdzv_configs={"rank": nodes.node_rank, "timeout": 900} if nodes.nnodes > 1 else {},
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
        if nodes.nnodes == 1:
            raise
        message = f"the machines did not meet at {nodes.rdzv_endpoint}: {clean(str(error).splitlines()[0], MAX_ECHO)}"
        raise CprspecError(
            Problem(message, hint="is machine 0 running, and its port open to the others?"), 1
        ) from error
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
