"""Momentum contrast in the training loop: InfoNCE, UberNCE, CoCLR and CPR (learning/moco.py).

One step: momentum update, micro-batches, one enqueue of all their keys. Until the queue of a mining phase is full no
optimiser step is made (PROTOCOL: as published).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cprspec.components import frameworks
from cprspec.learning.moco import MinerLike, MoCo, Step, own_key_accuracy, spread
from cprspec.mining.picks import bank_truth, picked
from cprspec.models.heads import Encoder
from cprspec.training.job import Job
from cprspec.training.stepper import COIN, PERMUTATION, Batch, Picks, picks_generator
from cprspec.video.sampling import generator


class MoCoStepper:
    """A `Stepper`; `outcomes` and `videos` are the current step's micro-batches so far."""

    not_saved: tuple[str, ...] = ("encoder_q.", "sampler.")
    directions: Mapping[str, str] = {}

    def __init__(self, job: Job, options: frameworks.MoCo, model: MoCo) -> None:
        assert isinstance(model.encoder_q, Encoder)
        self.module: nn.Module = model
        self.model = model
        self.encoder = model.encoder_q
        self.replay: Mapping[str, Any] = {"framework": options.name}
        self._job, self._options = job, options
        self._at, self._drop_own = (0, 0), False
        self.outcomes: list[Step] = []
        self.videos: list[Tensor] = []

    def use_miner(self, miner: MinerLike) -> None:
        """Mine with `miner` from now on."""
        self.model.miner = miner

    def begin(self, epoch: int, step: int) -> bool:
        """Toss the own-key coin and move the key encoder; whether the queue is still being filled."""
        coin = generator(self._job.phase.seed, COIN, epoch, step).random()
        self._at, self._drop_own = (epoch, step), bool(coin < self._options.drop_own_key)
        self.outcomes, self.videos = [], []
        self.model.momentum_update()
        return self.model.warming_up

    def forward(self, parallel: nn.Module, batch: Batch, micro: int) -> Tensor:
        """Contrast clip 1 with clip 2 and the queue; another view's clip 2 mines."""
        job, phase, device = self._job, self._job.phase, self._job.ranks.device
        at = (*self._at, micro)
        video_N = batch["video"].to(device, non_blocking=True)
        clips = batch[phase.views[0]].to(device, non_blocking=True)
        mining = batch[job.mining_view][:, 1].to(device, non_blocking=True) if job.mining_view else None
        order = generator(phase.seed, PERMUTATION, *at).permutation(len(video_N) * job.ranks.world)
        outcome = parallel(
            clips[:, 0],
            clips[:, 1],
            mining,
            video_N,
            job.source_V[video_N],
            permutation_M=torch.from_numpy(order),
            drop_own=self._drop_own,
            allowed_NK=job.alike(video_N, self.model.bank.video_K),
            generator=picks_generator(phase.seed, (*at, job.ranks.rank), device),
        )
        assert isinstance(outcome, Step)
        self.outcomes.append(outcome)
        self.videos.append(video_N)
        return outcome.loss

    def picks(self) -> Iterator[Picks]:
        """The mined rows as videos, while rows still mean these videos."""
        bank_K = self.model.bank.video_K
        for outcome, video_N in zip(self.outcomes, self.videos, strict=True):
            if outcome.mined is None:
                continue
            truth = bank_truth(self._job.label_V, video_N, bank_K, outcome.eligible_NK)
            selected_NP, counts = picked(outcome.mined, truth, bank_K)
            yield Picks(video_N=video_N, selected_NP=selected_NP, counts=counts, mined=outcome.mined)

    def bank(self) -> dict[str, Tensor]:
        """The queue: keys, the mining view's embeddings of the same clips, their videos, where the next ones go."""
        bank = self.model.bank
        rows = {"key_KD": bank.key_KD, "mining_KD": bank.mining_KD, "video_K": bank.video_K, "pointer": bank.pointer}
        return {name: tensor for name, tensor in rows.items() if tensor is not None}

    def embedded(self) -> Iterator[dict[str, Tensor]]:
        """Video, query, key and the mining view's embedding of each clip."""
        for outcome, video_N in zip(self.outcomes, self.videos, strict=True):
            found = {
                "video_M": video_N,
                "query_MD": outcome.query_ND,
                "key_MD": outcome.key_ND,
                "mining_MD": outcome.mining_ND,
            }
            yield {name: rows for name, rows in found.items() if rows is not None}

    def finish(self) -> None:
        """Enqueue the keys of every micro-batch."""
        video_N = torch.cat(self.videos)
        self.model.enqueue(self.outcomes, video_N, self._job.source_V[video_N])

    def numbers(self) -> Tensor:
        """Loss, share of queries whose own key is the nearest, spread of the last micro-batch's queries."""
        losses = torch.stack([o.loss.detach() for o in self.outcomes])
        own_key = torch.stack([own_key_accuracy(o.logits_NL.detach()) for o in self.outcomes])
        return torch.stack([losses.mean(), own_key.mean(), spread(self.outcomes[-1].query_ND)])
