"""The batches of a phase, in its order, which files this rank waits for, and the clips that could not be read."""

from __future__ import annotations

from cprspec.evaluation.bad_clips import BadClips
from cprspec.runs.rank_state import WAIT
from cprspec.training.job import Job, Tally
from cprspec.video.clips import PhaseOrder, TrainClips
from cprspec.video.supply import Supply
from cprspec.video.tray import Unread


def make_supply(job: Job, tally: Tally) -> Supply:
    """One supply of all the rest of the phase, so that its workers start once; while this rank waits, its state says so."""
    phase, ids = job.phase, job.index.ids("train")
    needed = [*phase.views, *([job.mining_view] if job.mining_view else [])]
    order = PhaseOrder(
        n=len(ids),
        batch_size=phase.batch_size,
        accumulate=phase.accumulate,
        rank=job.ranks.rank,
        world_size=job.ranks.world,
        seed=phase.seed,
        first_epoch=tally.epoch,
        first_step=tally.step,
        epochs=phase.epochs,
    )
    clips = TrainClips(
        job.index,
        ids,
        {name: job.views[name] for name in dict.fromkeys(needed)},
        phase.clip,
        phase.augment,
        job.store,
        phase.seed,
        phase.framework.clips_per_video,
    )
    pin = job.ranks.device.type == "cuda"
    return Supply(clips, order, job.launch, pin=pin, waits=lambda file: job.alive.at(WAIT, file))


def count_bad_clips(job: Job, tally: Tally, replaced: int, unread: list[Unread]) -> None:
    """Count what had to be replaced in this step on all ranks. CprspecError, on all of them, when it is too much."""
    bad_clips = BadClips(
        index=job.index,
        ranks=job.ranks,
        report=job.report,
        clips=job.phase.batch_size * job.steps_per_epoch,
        allowed=job.launch.bad_clips,
    )
    where = f"phase '{job.phase.name}', epoch {tally.epoch}, step {job.global_step(tally)}"
    bad_clips.count(tally, replaced, unread, where)
