"""IIC in the training loop: one clip of each video in two views, against memory banks (learning/iic.py).

What is drawn (negatives, what becomes of intra-negatives) is drawn for the whole global batch of a step, of which each rank
and micro-batch takes its rows: neither their number nor a resume changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from cprspec.components import frameworks
from cprspec.learning.iic import IIC, Step
from cprspec.learning.intra import QUARTERS
from cprspec.learning.moco import MinerLike, own_key_accuracy, spread
from cprspec.mining.picks import bank_truth, picked
from cprspec.models.heads import Encoder
from cprspec.training.job import Job
from cprspec.training.stepper import INTRA, NEGATIVES, Batch, Picks, picks_generator
from cprspec.video.sampling import generator


class IICStepper:
    """A `Stepper`; `outcomes` and `videos` are the current step's micro-batches so far."""

    not_saved: tuple[str, ...] = ("encoder.",)

    def __init__(self, job: Job, options: frameworks.IIC, model: IIC) -> None:
        assert isinstance(model.encoder, Encoder)
        self.module: nn.Module = model
        self.model = model
        self.encoder = model.encoder
        first, second = job.phase.views
        self.directions: Mapping[str, str] = {first: second, second: first} if model.miner is not None else {}
        self.replay: Mapping[str, Any] = {
            "framework": options.name, "momentum": options.momentum, "start_epoch": options.start_epoch,
        }  # fmt: skip
        self._job, self._options = job, options
        train = torch.from_numpy(job.index.ids("train")).to(job.ranks.device)
        self._video_V = train
        self._row_of_video = torch.full((len(job.index.videos),), -1, device=job.ranks.device)
        self._row_of_video[train] = torch.arange(len(train), device=job.ranks.device)
        self._at = (0, 0)
        self._columns, self._intra = torch.empty(0), torch.empty(0)
        self.outcomes: list[Step] = []
        self.videos: list[Tensor] = []

    def use_miner(self, miner: MinerLike) -> None:
        """Mine with `miner` from now on."""
        self.model.miner = miner

    def begin(self, epoch: int, step: int) -> bool:
        """Draw for the whole batch; there is no warm-up."""
        phase, device = self._job.phase, self._job.ranks.device
        negatives, intra = (generator(phase.seed, stream, epoch, step) for stream in (NEGATIVES, INTRA))
        size = (phase.batch_size, self._options.negatives)
        self._columns = torch.from_numpy(negatives.integers(len(self._video_V), size=size)).to(device)
        self._intra = torch.from_numpy(draw_intra(intra, phase.batch_size, phase.clip.frames, self._options)).to(device)
        self._at = (epoch, step)
        self.outcomes, self.videos = [], []
        return False

    def forward(self, parallel: nn.Module, batch: Batch, micro: int) -> Tensor:
        """Contrast each clip in both views with the banks, and from `start_epoch` on with what is mined there."""
        job, phase, device = self._job, self._job.phase, self._job.ranks.device
        video_N = batch["video"].to(device, non_blocking=True)
        first, second = (batch[view][:, 0].to(device, non_blocking=True) for view in phase.views)
        begin = (micro * job.ranks.world + job.ranks.rank) * len(video_N)
        mine = slice(begin, begin + len(video_N))
        place = (*self._at, micro, job.ranks.rank)
        outcome = parallel(
            first,
            second,
            torch.cat([self._row_of_video[video_N][:, None], self._columns[mine]], dim=1),
            intra_N2=self._intra[mine],
            mining=self._at[0] >= self._options.start_epoch,
            allowed_NV=job.alike(video_N, self._video_V),
            generators=tuple(picks_generator(phase.seed, (*place, d), device) for d in range(2)),
        )
        assert isinstance(outcome, Step)
        self.outcomes.append(outcome)
        self.videos.append(video_N)
        return outcome.loss

    def picks(self) -> Iterator[Picks]:
        """The mined rows as videos, for the loss of the first view and for that of the second."""
        for outcome, video_N in zip(self.outcomes, self.videos, strict=True):
            if outcome.mined is None or outcome.eligible_NV is None:
                continue
            truth = bank_truth(self._job.label_V, video_N, self._video_V, outcome.eligible_NV)
            for direction, mined in zip(self.directions, outcome.mined, strict=True):
                selected_NP, counts = picked(mined, truth, self._video_V)
                yield Picks(video_N=video_N, selected_NP=selected_NP, counts=counts, mined=mined, direction=direction)

    def bank(self) -> dict[str, Tensor]:
        """The rows of both views, in the order of the training videos, and which were updated once."""
        return {"first_VD": self.model.first_VD, "second_VD": self.model.second_VD, "updated_V": self.model.updated_V}

    def embedded(self) -> Iterator[dict[str, Tensor]]:
        """Video of each clip, and its feature in both views."""
        for outcome, video_N in zip(self.outcomes, self.videos, strict=True):
            yield {"video_M": video_N, "first_MD": outcome.feature_ND[0], "second_MD": outcome.feature_ND[1]}

    def finish(self) -> None:
        """Move the bank rows of this step's videos."""
        self.model.update(self.outcomes, self._row_of_video[torch.cat(self.videos)])

    def numbers(self) -> Tensor:
        """Loss, share of clips (over both views) whose own row has the highest logit, spread of the first view's features."""
        losses = torch.stack([o.loss.detach() for o in self.outcomes])
        own_key = torch.stack([own_key_accuracy(x.detach()) for o in self.outcomes for x in o.logits_NL])
        return torch.stack([losses.mean(), own_key.mean(), spread(normalize(self.outcomes[-1].feature_ND[0]))])


def draw_intra(rng: np.random.Generator, clips: int, frames: int, options: frameworks.IIC) -> NDArray[np.int64]:
    """How each clip's intra-negative is made, `[clips,2]`: the frame to repeat (twice), or two quarters to exchange."""
    if options.intra_negative == "repeat":
        return rng.integers(frames, size=(clips, 1)).repeat(2, axis=1)
    first = rng.integers(QUARTERS, size=clips)
    return np.stack([first, (first + rng.integers(1, QUARTERS, size=clips)) % QUARTERS], axis=1)
