"""What `cprspec submit` does before the queue: all that can be wrong is said, then runs are made and handed in. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from cprspec.errors import CprspecError, Problem
from cprspec.runs.files import atomic_write_text, make_folder
from cprspec.runs.layout import RunDir
from cprspec.spec.presence import read_facts
from cprspec.spec.schema import Resolved
from cprspec.training.division import check_ranks, made_by
from cprspec.training.request import Request, begin_run, discard
from cprspec.training.slurm import Wish, check_wish, hand_in, job_text
from cprspec.video.store import cache_folder
from cprspec.video.usable import usable_videos


@frozen(kw_only=True)
class Job:
    """A run that shall be submitted, new or to go on with."""

    request: Request
    resolved: Resolved
    wish: Wish

    def text(self, run: RunDir) -> str:
        """The file for sbatch, where the run is `run`."""
        return job_text(run, self.wish, self.resolved, self.request.settled(run.resolved).words())

    def example(self) -> RunDir:
        """The run, or where a new one could lie."""
        return (
            RunDir(self.request.run_dir) if self.request.run_dir else RunDir.next(self.request.runs, self.resolved.name)
        )


def prepare(requests: Sequence[Request], wish: Wish) -> tuple[list[Job], list[Problem]]:
    """A job for each request, nothing made yet, and what is to be said of their data. CprspecError for what is wrong."""
    jobs = [Job(request=request, resolved=request.resolve(), wish=wish) for request in requests]
    for job in jobs:
        check_wish(wish, job.resolved)
        check_ranks(job.resolved, wish.nodes * wish.ranks)
        if job.request.run_dir is not None and not job.request.allow_world_size_change:
            _check_world_size(RunDir(job.request.run_dir), wish.nodes * wish.ranks)
    _facts, problems = read_facts([job.resolved for job in jobs], cache_folder(), usable_videos)
    return jobs, problems


def submit(job: Job) -> tuple[RunDir, str]:
    """Make the run, if it is new, and hand it in: the run, and the job's number. A new run that is refused is removed."""
    new = job.request.run_dir is None
    if new:
        job = evolve(job, request=begin_run(job.request, job.resolved))
    run = job.example()
    try:
        make_folder(run.log(0).parent)  # Slurm makes none, and loses what a job says
        atomic_write_text(run.job_file, job.text(run))
        return run, hand_in(run.job_file)
    except BaseException:
        if new:
            discard(run)
        raise


def _check_world_size(run: RunDir, ranks: int) -> None:
    """CprspecError if the run's newest checkpoint is of another number of ranks; it would be, too, when the job starts."""
    was = made_by(run)
    if was not in (None, ranks):
        hint = "choose --nodes and --gpus so, or --allow-world-size-change, which gives up exactness"
        raise CprspecError(Problem(f"run {run.label} was made by {was} ranks, and these are {ranks}", hint=hint))
