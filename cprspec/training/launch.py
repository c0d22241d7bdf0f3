"""Starting a run: one process in place, several through torch elastic, or as one of those that torchrun started."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from attrs import evolve, frozen

from cprspec.errors import CprspecError, Problem, clean, print_problems
from cprspec.runs.layout import RunDir
from cprspec.training.prepare import fill_store, read_data, short_videos
from cprspec.training.progress import filling
from cprspec.training.request import Request
from cprspec.training.signals import Stopped
from cprspec.training.worker import check_ranks, preload_data_workers, work
from cprspec.video.store import Store


@frozen(kw_only=True)
class Nodes:
    """How many processes on how many machines, and where they meet; one machine needs no endpoint."""

    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    rdzv_endpoint: str = ""


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
    # Before any rank starts: what is wrong with the data is said once, and preparing shows its progress.
    indices, store = read_data(resolved, print_problems), Store()
    with filling() as progress:
        fill_store(resolved, indices, store, os.cpu_count() or 1, progress)
    print_problems(short_videos(resolved, indices, store))
    if request.run_dir is None and nodes.node_rank == 0:
        request = evolve(request, run_dir=RunDir.create(request.runs, resolved.name).path)
    try:
        if nodes.nproc * nodes.nnodes == 1:
            return work(request)
        return _launch_elastic(evolve(request, child=True), nodes)
    except Stopped:
        print(f"stopped; go on with: {_resume_command(request, nodes)}", file=sys.stderr)
        raise


def _resume_command(request: Request, nodes: Nodes) -> str:
    parts = ["cprspec run", str(request.run_dir or "RUN")]
    parts += [f"--nproc {nodes.nproc}"] if nodes.nproc > 1 else []
    if nodes.nnodes > 1:
        parts.append(f"--nnodes {nodes.nnodes} --node-rank {nodes.node_rank} --rdzv-endpoint {nodes.rdzv_endpoint}")
    parts += [f"--registry {folder}" for folder in request.registries]
    parts += [f"--plugin {file}" for file in request.plugins]
    return " ".join(parts)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _launch_elastic(request: Request, nodes: Nodes) -> Path:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if nodes.nnodes > 1 and not nodes.rdzv_endpoint:
        raise CprspecError(Problem("several machines need --rdzv-endpoint HOST:PORT, the same on each"))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # how it ends a run is told below
    # A rank may need longer than elastic's 30 s for its step and its checkpoint.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")
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
    )
    try:
        paths = elastic_launch(config, child_main)(request)
    except SignalException as error:
        raise Stopped(int(error.sigval), None) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            raise Stopped(failure.exitcode - 128, None) from error
        cause = (
            f"signal {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else f"exit {failure.exitcode}"
        )
        hint = "its own message stands above"
        if failure.exitcode == -signal.SIGKILL:
            hint = "killed from outside, perhaps for want of memory"
        raise CprspecError(Problem(f"rank {rank} ended early ({cause})", hint=hint), exit_code=1) from error
    return Path(next(iter(paths.values())))  # of this machine's ranks, which all say the same


def child_main(request: Request) -> str:
    """The entry of a rank under torch elastic: an expected end leaves by its exit code, never by returning."""
    try:
        return str(work(request))
    except Stopped as stopped:
        code = 128 + stopped.number
    except CprspecError as error:
        print_problems(error.problems)
        code = error.exit_code
    # Out here, where no traceback keeps the data workers' iterator alive: leaving would wait for them for ever.
    raise SystemExit(code)
