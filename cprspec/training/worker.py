"""What every rank does: join the others, train the phases in order, evaluate, and leave.

One process calls `work` directly; torch elastic calls it in each of several. Rank 0 alone writes the run directory.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from multiprocessing import get_context, resource_tracker
from pathlib import Path

from cprspec import __version__
from cprspec.evaluation.nearest import check_maps
from cprspec.learning.ranks import (
    LostPeerError,
    Ranks,
    joined_ranks,
    keep_freed_memory,
    naming_lost_peers,
    share_threads,
    wait_for_all,
)
from cprspec.processes import sheltered
from cprspec.runs import events
from cprspec.runs.files import atomic_write_bytes, atomic_write_json
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Resolved
from cprspec.training.division import check_ranks
from cprspec.training.environment import environment
from cprspec.training.estimate import Memory, memory_of
from cprspec.training.exhaustion import naming_lack_of_memory
from cprspec.training.job import Allowed
from cprspec.training.ports import interface_towards
from cprspec.training.prepare import fill_store, read_data
from cprspec.training.progress import Progress
from cprspec.training.pulse import pulse
from cprspec.training.recipe import Recipe
from cprspec.training.report import Quiet, Report, Reporter
from cprspec.training.request import Request, write_experiment
from cprspec.training.signals import Stopped, StopRequest, forget_request
from cprspec.video.store import Store
from cprspec.video.workers import PRELOADED


def work(request: Request) -> Path:
    """Run the experiment on this rank and return the run's directory. Raises `Stopped`, `CprspecError`."""
    resolved = request.resolve()
    preload_data_workers()
    stop = StopRequest(patient=request.child or "TORCHELASTIC_RUN_ID" in os.environ)
    stop.install()
    launch = resolved.launch
    _speak_to_other_machines()
    indices, store = read_data(resolved), Store(cache=launch.cache)
    stated = stated_memory(resolved, len(indices[resolved.train_on].ids("train")))
    with joined_ranks(launch.device, launch.timeout_s) as ranks:
        check_ranks(resolved, ranks.world)
        check_maps(resolved)
        if ranks.local == 0:
            fill_store(resolved, indices, store, os.cpu_count() or 1)
        wait_for_all(ranks)
        if ranks.device.type == "cpu":
            keep_freed_memory()
        threads = share_threads(launch.threads, launch.workers, ranks.local_world)
        own = (request.run_dir or RunDir.create(request.runs, resolved.name).path) if ranks.first else None
        run = RunDir(Path(ranks.text_from_first(str(own) if own else None)))
        if request.tell is not None and ranks.local == 0:
            atomic_write_bytes(request.tell, os.fsencode(run.path), durable=False)
        with (
            run.lock() if ranks.first else nullcontext(),
            pulse(run, ranks, crashes=request.child) as alive,
            reporting(run, resolved, ranks) as report,
            naming_lost_peers(ranks),
            naming_lack_of_memory(alive.where),
        ):
            if ranks.first:
                if not request.child and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
                    forget_request(run.stop_requested)  # under torchrun nobody did before
                write_facts(run, request, resolved, ranks, threads)
            began = time.monotonic()
            recipe = Recipe(
                request.runs, request.fresh, resolved, indices, store, run, ranks, report, stop, alive,
                Allowed(fallback=request.fallback, world_size_change=request.allow_world_size_change), stated,
            )  # fmt: skip
            for position, phase in enumerate(resolved.phases):
                recipe.obtain(phase, position)
            recipe.evaluate()
            report(events.RunFinished(seconds_s=time.monotonic() - began))
    return run.path


def stated_memory(resolved: Resolved, videos: int) -> dict[str, Memory | None]:
    """On rank 0 what each phase is expected to take, for phase.json; before ranks join, since one alone rehearses it."""
    if int(os.environ.get("RANK", "0")):
        return {}
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    return {phase.name: memory_of(resolved, phase, videos, ranks) for phase in resolved.phases}


def preload_data_workers() -> None:
    """Let the server that data workers are forked from import once what they need, instead of each worker for each phase.

    It counts only before the first process is started that way. So does the shelter of the tracker, which ranks inherit.
    """
    get_context("forkserver").set_forkserver_preload([*PRELOADED])
    with sheltered():
        resource_tracker.ensure_running()


def _speak_to_other_machines() -> None:
    """Have gloo take the interface that leads to the first machine, unless a user has chosen one."""
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 and (name := interface_towards(os.environ["MASTER_ADDR"])):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


@contextmanager
def reporting(run: RunDir, resolved: Resolved, ranks: Ranks) -> Iterator[Reporter]:
    """Say what happens: on rank 0 into the run directory and to the terminal, nowhere on the others."""
    if not ranks.first:
        yield Quiet()
        return
    first_attempt = not run.events.exists()
    with Progress() as progress, closing(Report(run, progress)) as report:
        if first_attempt:
            report(
                events.RunStarted(
                    name=resolved.name, seed=resolved.seed, phases=tuple(p.name for p in resolved.phases),
                    world_size=ranks.world, version=__version__,
                )
            )  # fmt: skip
        try:
            yield report
        except Stopped as stopped:
            name = signal.Signals(stopped.number).name
            report(events.Stopped(signal=name, step=stopped.step))
            report.state("stopped", f"by {name}")
            raise
        except LostPeerError:
            raise  # the launcher knows which rank was lost, and how, and will say so
        except BaseException as error:
            why = str(error) or type(error).__name__
            report(events.RunFailed(message=why))
            report.state("failed", why)
            raise
        report.state("finished")


def write_facts(run: RunDir, request: Request, resolved: Resolved, ranks: Ranks, threads: int) -> None:
    """Write what the run is, once: the experiment as written and as resolved, and the environment."""
    write_experiment(run, request, resolved)
    if not run.environment.exists():
        atomic_write_json(run.environment, environment(ranks.world, threads, str(ranks.device)))
