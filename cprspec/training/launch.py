"""Starting a run: one process in place, several through torch elastic, or as one of those that torchrun started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from cprspec.data.index import Index
from cprspec.errors import CprspecError, clean, print_problems
from cprspec.learning.ranks import LOST_PEER, check_devices
from cprspec.runs.files import atomic_write_text
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml
from cprspec.training.division import check_ranks
from cprspec.training.elastic import run_ranks
from cprspec.training.going_on import resume_command
from cprspec.training.nodes import Nodes, check_nodes
from cprspec.training.preparation import preparing
from cprspec.training.prepare import fill_store, read_data, short_videos
from cprspec.training.progress import filling
from cprspec.training.request import Request, begin_run
from cprspec.training.signals import Stopped, forget_request, handlers_kept
from cprspec.training.space import check_space
from cprspec.training.worker import preload_data_workers, work
from cprspec.video.store import Store


def launch_all(requests: list[Request], nodes: Nodes) -> tuple[int, list[Path]]:
    """Run `requests` in turn, going on after one that fails; the worst exit code, and the runs that finished.

    A run that is stopped ends them all. That a machine was lost is better than any other failure: going on may mend it.
    """
    if not _under_torchrun():
        check_nodes(nodes)
    worst, done, failed = 0, list[Path](), list[str]()
    for number, request in enumerate(requests, start=1):
        if len(requests) > 1:
            _say(f"run {number} of {len(requests)}: {request.title}")
        try:
            with handlers_kept():
                done.append(launch(request, nodes))
        except Stopped as stopped:
            if number < len(requests):
                _say(f"not begun: {', '.join(later.title for later in requests[number:])}")
            return 128 + stopped.number, done
        except CprspecError as error:
            print_problems(error.problems)
            worst = max(worst, error.exit_code, key=lambda code: (code != 0, code != LOST_PEER, code))
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
    # All that can be refused at once comes before preparing, which may take hours.
    check_nodes(nodes)
    resolved = request.resolve()
    check_ranks(resolved, nodes.ranks)
    check_devices(resolved.launch.device, nodes.nproc)
    if nodes.node_rank == 0:
        check_place(request, resolved)
    preload_data_workers()
    # Before any rank starts: what is wrong with the data is said once, and preparing shows its progress.
    indices, store = read_data(resolved, print_problems), Store(cache=resolved.launch.cache)
    with _settled(request, nodes, resolved) as settled:
        try:
            prepare(resolved, indices, store, settled.run_dir if nodes.node_rank == 0 else None)
            return work(settled) if nodes.in_place else run_ranks(evolve(settled, child=True), nodes)
        except (Stopped, KeyboardInterrupt) as stopped:  # the latter between preparing and what ranks listen to
            _say(f"stopped; go on with: {resume_command(settled, nodes)}")
            raise stopped if isinstance(stopped, Stopped) else Stopped(signal.SIGINT, None) from None
        except CprspecError as error:
            run = settled.run_path()
            if error.exit_code not in (1, LOST_PEER) or run is None or not run.is_dir():
                raise
            # It failed on its way: what it has done is not lost.
            *others, last = error.problems
            way_on = f"go on with: {resume_command(settled, nodes)}"
            hint = f"{last.hint}; {way_on}" if last.hint else way_on
            raise CprspecError([*others, evolve(last, hint=hint)], error.exit_code) from error


def prepare(resolved: Resolved, indices: dict[str, Index], store: Store, run_dir: Path | None) -> None:
    """Have all videos in `store`; the run in `run_dir` says meanwhile how far that is (None: another machine writes it)."""
    with (
        preparing(RunDir(run_dir) if run_dir else None) as tell,
        filling() as show,
    ):

        def progress(done: int, videos: int) -> None:
            tell(done, videos)
            show(done, videos)

        fill_store(resolved, indices, store, os.cpu_count() or 1, progress)
        # It looks at every video: that is stopped in the same way.
        print_problems(short_videos(resolved, indices, store))


@contextmanager
def _settled(request: Request, nodes: Nodes, resolved: Resolved) -> Iterator[Request]:
    """`request` as ranks shall have it, whatever becomes of the experiment's file meanwhile: of its run, which holds it.

    A machine that does not make the run has a copy, and a place where a rank tells which run it is; both are gone afterwards.
    """
    if request.run_dir is not None:
        yield request.settled(request.spec)
    elif nodes.node_rank == 0:
        yield begin_run(request, resolved)
    else:
        with TemporaryDirectory(prefix="cprspec-") as folder:
            copy = Path(folder) / "resolved.toml"
            atomic_write_text(copy, to_toml(resolved))
            yield evolve(request.settled(copy), tell=Path(folder) / "run")


def check_place(request: Request, resolved: Resolved) -> None:
    """Whether the run can be written where it shall lie: not read-only, nobody else's now, and large enough."""
    run = RunDir(request.run_dir) if request.run_dir else None
    if run is not None:
        with run.lock():
            forget_request(run.stop_requested)  # rank 0 takes the lock again, later; who has it now is said at once
    check_space(resolved, request.runs, run)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
