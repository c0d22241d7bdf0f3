"""A phase's training step as it is in a run, without a run: on clips of noise, with untrained weights and a full bank.

What a step costs depends on shapes and on nothing that is in the clips. The step is the loop's own (training/loop.py), of the
phase's last epoch: past warm-up, with the miner of the end. Videos, classes and sources are made up; nothing is read.

Legend: V videos, N clips of a micro-batch, K bank rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from attrs import frozen

from cprspec.data.index import Index, Video
from cprspec.learning.exchange import rank, world_size
from cprspec.learning.gradients import share_gradients
from cprspec.learning.moco import MinerLike
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import build_encoder
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.ahead import Ahead
from cprspec.training.build import Start, build_stepper
from cprspec.training.iic_stepper import IICStepper
from cprspec.training.job import Allowed, Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.loop import make_ledger, make_ready, train_step
from cprspec.training.moco_stepper import MoCoStepper
from cprspec.training.pulse import Pulse, pulse
from cprspec.training.recorder import Recorder
from cprspec.training.report import Quiet
from cprspec.training.signals import StopRequest
from cprspec.training.stepper import Batch, Stepper
from cprspec.video.clips import clip_shape
from cprspec.video.sampling import generator
from cprspec.video.store import Store
from cprspec.video.tray import Spent

CLASSES, PER_SOURCE = 101, 5
"""Of made-up videos: how many classes they have where nobody says, and how many share a source, as in UCF101."""


class Noise(Iterator[Batch]):
    """Batches of a phase: always the same clips, in every view that it reads, of other videos each time."""

    def __init__(self, job: Job, views: tuple[str, ...]) -> None:
        phase = job.phase
        self._rng, self._ids = generator(phase.seed, 2, job.ranks.rank), job.index.ids("train")
        self._rows = phase.batch_size // phase.accumulate // job.ranks.world
        shape = (self._rows, phase.framework.clips_per_video, *clip_shape(phase.clip))
        clips = {name: torch.from_numpy(self._rng.integers(0, 256, shape, dtype=np.uint8)) for name in views}
        self._clips = {
            name: clip.pin_memory() if job.ranks.device.type == "cuda" else clip for name, clip in clips.items()
        }

    def __next__(self) -> Batch:
        drawn = self._ids[self._rng.integers(len(self._ids), size=self._rows)]
        return {"video": torch.from_numpy(drawn), **self._clips}

    def take_spent(self) -> Spent:
        """Nothing: the clips are there."""
        return Spent()


@frozen(eq=False)
class Trial:
    """A phase that can be stepped as often as one likes; every call of `step` is one optimiser step."""

    job: Job
    stepper: Stepper
    parallel: torch.nn.Module
    miner: MinerLike | None
    optimizer: torch.optim.Optimizer
    ledger: Ledger
    recorder: Recorder
    batches: Ahead

    def step(self, number: int = 0) -> None:
        """Step `number` of the epoch; whether it is one that is logged depends on that."""
        tally = Tally(epoch=self.job.phase.epochs - 1, step=number)
        train_step(
            self.job, self.stepper, self.parallel, self.optimizer, self.ledger, self.recorder, self.batches, tally
        )


@contextmanager
def trial(
    resolved: Resolved, phase: Phase, device: torch.device, videos: int, classes: int = CLASSES
) -> Iterator[Trial]:
    """`phase` on `device`, as if its data set had so many training videos and classes.

    In a process group every rank makes the same trial, and they step together.
    """
    ranks = Ranks(rank=rank(), world=world_size(), device=device)
    with tempfile.TemporaryDirectory() as folder, pulse(RunDir(Path(folder)), ranks, crashes=False) as alive:
        job = _job(resolved, phase, made_up(videos, classes), ranks, alive, Path(folder))
        sampler = resolved.phase(phase.mine_with) if phase.mine_with else None
        weights = build_encoder(sampler).state_dict() if sampler else None
        stepper = build_stepper(job, sampler, Start(encoder=None, sampler=weights))
        miner = phase.miner.at(phase.epochs - 1).build() if phase.miner else None
        if miner is not None:
            stepper.use_miner(miner)
        make_ready(job, stepper)
        fill_bank(job, stepper)
        optimizer = phase.optimizer.build(stepper.encoder.parameters())
        ledger, recorder = make_ledger(job, stepper), Recorder(job, stepper)
        parallel = share_gradients(stepper.module) if ranks.world > 1 else stepper.module
        batches = Ahead(Noise(job, resolved.views_of(phase)), device)
        yield Trial(job, stepper, parallel, miner, optimizer, ledger, recorder, batches)


def made_up(videos: int, classes: int = CLASSES) -> Index:
    """An index of so many training videos of so many classes, of which there are no files."""
    sources = -(-videos // PER_SOURCE)
    return Index(
        tuple(f"class {c}" for c in range(classes)),
        tuple(f"source {s}" for s in range(sources)),
        tuple(
            Video(Path(f"{v}.avi"), f"{v}.avi", v // PER_SOURCE % classes, v // PER_SOURCE, "train", 0)
            for v in range(videos)
        ),
    )


def fill_bank(job: Job, stepper: Stepper) -> None:
    """Fill the bank with random embeddings of the job's videos, so that the phase mines."""
    if isinstance(stepper, IICStepper):
        stepper.model.updated_V.fill_(True)
    elif isinstance(stepper, MoCoStepper):
        # Random embeddings are there already; what is missing is that they belong to videos.
        bank, rng = stepper.model.bank, generator(job.phase.seed, 3)
        drawn = torch.from_numpy(rng.choice(job.index.ids("train"), len(bank))).to(job.ranks.device)
        mining_KD = None if bank.mining_KD is None else bank.mining_KD.clone()
        bank.enqueue(bank.key_KD.clone(), mining_KD, drawn, job.source_V[drawn])


def _job(resolved: Resolved, phase: Phase, index: Index, ranks: Ranks, alive: Pulse, folder: Path) -> Job:
    return Job(
        phase=phase, views=resolved.views, mining_view=resolved.mining_view(phase), index=index, store=Store(),
        launch=resolved.launch, ranks=ranks, folder=folder, fingerprint="",
        label_V=torch.from_numpy(index.labels).to(ranks.device),
        source_V=torch.from_numpy(index.source_ids).to(ranks.device), steps_per_epoch=1, report=Quiet(),
        stop=StopRequest(), alive=alive, allowed=Allowed(), stop_file=folder / "stop",
    )  # fmt: skip
