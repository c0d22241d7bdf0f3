"""The batches of a phase, in its order, and which files this rank waits for."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cprspec.runs.rank_state import STEP, WAIT
from cprspec.training.job import Job, Tally
from cprspec.training.stepper import Batch
from cprspec.video.clips import PhaseOrder, train_loader


def make_loader(job: Job, tally: Tally) -> torch.utils.data.DataLoader[Batch]:
    """One loader for all the rest of the phase, so that its workers start once."""
    needed = [*job.phase.views, *([job.mining_view] if job.mining_view else [])]
    order = PhaseOrder(
        n=len(job.index.ids("train")),
        batch_size=job.phase.batch_size,
        accumulate=job.phase.accumulate,
        rank=job.ranks.rank,
        world_size=job.ranks.world,
        seed=job.phase.seed,
        first_epoch=tally.epoch,
        first_step=tally.step,
        epochs=job.phase.epochs,
    )
    return train_loader(
        index=job.index,
        views={name: job.views[name] for name in dict.fromkeys(needed)},
        clip=job.phase.clip,
        clips=job.phase.framework.clips_per_video,
        augment=job.phase.augment,
        store=job.store,
        order=order,
        workers=job.launch.workers,
        pin_memory=job.ranks.device.type == "cuda",
    )


def awaited(job: Job, loader: torch.utils.data.DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of `loader`; while this rank waits for one, its state says so, with the first file of the batch."""
    videos, ids = job.index.videos, job.index.ids("train")
    batches = iter(loader)
    for keys in loader.batch_sampler or ():
        _, position = keys[0]
        job.alive.at(WAIT, videos[ids[position]].path)
        batch = next(batches)
        job.alive.at(STEP)
        yield batch
