"""One rank's part of real training steps on clips that are in memory already: what several scripts here measure.

A step is the training loop's own (training/loop.train_step) of an experiment that is written below: everything from
the clips' bytes to the update, exchange between ranks, bank and ledger included. Only videos are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn.functional import normalize

from cprspec.data.index import Index, Video
from cprspec.learning.exchange import rank, world_size
from cprspec.learning.gradients import share_gradients
from cprspec.learning.iic import IIC
from cprspec.learning.moco import MoCo
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import build_encoder
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved
from cprspec.training.build import Start, build_stepper
from cprspec.training.job import Allowed, Job, Tally
from cprspec.training.loop import make_ledger, train_step
from cprspec.training.recorder import Recorder
from cprspec.training.report import Quiet
from cprspec.training.signals import StopRequest
from cprspec.training.stepper import Batch, Stepper
from cprspec.video.store import Store
from cprspec.video.tray import Spent

EXPERIMENT = """
format = 1
batch_size = 4

[dataset.clips]
use = "folder"

[clip]
frames = 16
size = 112

[backbone]
use = "s3d"

[framework]
use = "{framework}"

[miner]
use = "cpr"

[launch]
device = "cpu"
workers = 0
threads = 1
"""

MOCO = """
[phase.rgb]
views = ["rgb"]
epochs = 1

[phase.flow]
views = ["flow"]
epochs = 1

[phase.cycle]
views = ["rgb"]
start_from = "rgb"
mine_with = "flow"
epochs = 1
"""

IIC_PHASE = """
[phase.iic]
views = ["rgb", "residual"]
epochs = 2
"""


def experiment(*overrides: str, framework: str = "moco") -> Resolved:
    """S3D, [16,112,112], batch 4, CPR: with the published options of `framework`, and what `overrides` say otherwise."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "steps.toml"
        path.write_text(EXPERIMENT.format(framework=framework) + (MOCO if framework == "moco" else IIC_PHASE))
        return resolve(path, builtin_registry(), overrides=overrides)


def some_index(videos: int, classes: int) -> Index:
    """Training videos that are nowhere, of which each source has four."""
    every = [Video(Path(f"{v}.avi"), f"{v}.avi", v % classes, v % (videos // 4), "train", 1) for v in range(videos)]
    return Index(
        tuple(f"class {c}" for c in range(classes)), tuple(f"source {s}" for s in range(videos // 4)), tuple(every)
    )


class Clips:
    """In place of the supply: noise as bytes, made once; videos in order, each rank its part of the batch."""

    def __init__(self, job: Job, views: Sequence[str]) -> None:
        phase, clip = job.phase, job.phase.clip
        self._rows = phase.batch_size // (phase.accumulate * job.ranks.world)
        self._job, self._at = job, 0
        shape = (self._rows, phase.framework.clips_per_video, clip.frames, clip.size, clip.size, 3)
        rng = np.random.default_rng(job.ranks.rank)
        self._clips = {view: torch.from_numpy(rng.integers(0, 256, shape, np.uint8)) for view in views}

    def __next__(self) -> Batch:
        ranks, videos = self._job.ranks, len(self._job.index.videos)
        first = (self._at * ranks.world + ranks.rank) * self._rows
        self._at += 1
        return {"video": torch.arange(first, first + self._rows) % videos, **self._clips}

    def take_spent(self) -> Spent:
        """Nothing was decoded."""
        return Spent()


class Silent:
    """In place of the rank's pulse."""

    def at(self, stage: str, file: Path | None = None) -> None:
        """Nobody looks."""


class Steps:
    """A phase in the middle of training: its bank is full, so that steps mine; `step` makes one more."""

    def __init__(
        self, resolved: Resolved, phase_name: str, folder: Path, videos: int = 4096, classes: int = 101
    ) -> None:
        phase = resolved.phase(phase_name)
        index = some_index(videos, classes)
        self.job = Job(
            phase=phase, views=resolved.views, mining_view=resolved.mining_view(phase), index=index, store=Store(),
            launch=resolved.launch, ranks=Ranks(rank=rank(), world=world_size(), device=torch.device("cpu")),
            folder=folder, fingerprint="", label_V=torch.from_numpy(index.labels),
            source_V=torch.from_numpy(index.source_ids), steps_per_epoch=10**9, report=Quiet(), stop=StopRequest(),
            alive=Silent(), allowed=Allowed(), stop_file=folder / "stop",
        )  # fmt: skip
        sampler = resolved.phase(phase.mine_with) if phase.mine_with else None
        start = Start(None, build_encoder(sampler).state_dict() if sampler else None)
        self.stepper: Stepper = build_stepper(self.job, sampler, start)
        self.stepper.module.train()
        fill_bank(self.stepper.module, videos)
        self.optimizer = phase.optimizer.build(self.stepper.encoder.parameters())
        self.ledger, self.recorder = make_ledger(self.job, self.stepper), Recorder(self.job, self.stepper)
        module = self.stepper.module
        self.parallel = share_gradients(module) if self.job.ranks.world > 1 else module
        self.clips = Clips(self.job, resolved.views_of(phase))
        self.tally = Tally(epoch=1)

    def step(self) -> None:
        """One optimiser step, as in training."""
        train_step(
            self.job, self.stepper, self.parallel, self.optimizer, self.ledger, self.recorder, self.clips, self.tally
        )
        self.tally.step += 1


def fill_bank(module: torch.nn.Module, videos: int) -> None:
    """Random rows of the first videos, the same on every rank."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(module, IIC):
        module.updated_V.fill_(True)
        return
    assert isinstance(module, MoCo)
    bank = module.bank
    video_K = torch.arange(len(bank)) % videos
    mining_KD = None
    if bank.mining_KD is not None:
        mining_KD = normalize(torch.randn(bank.mining_KD.shape, generator=generator))
    bank.enqueue(normalize(torch.randn(bank.key_KD.shape, generator=generator)), mining_KD, video_K, video_K // 4)
