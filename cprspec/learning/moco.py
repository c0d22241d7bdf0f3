"""Momentum contrast with mined positives: InfoNCE, UberNCE, CoCLR and CPR are this one module with different inputs.

A query (clip 1) is contrasted with its own key (clip 2 through a slowly moving copy of the encoder) and the bank's past
keys. Without a miner only the own key is positive. With one, clips of the query's source and mined rows are, too; a frozen
`sampler` of another view then embeds clip 2 for the miner, and nothing is mined until the bank is full.
Sources: He et al. (CVPR 2020), CoCLR's and CPR's public code; PROTOCOL 3 to 5.

In each optimiser step the loop calls `momentum_update` once, `forward` for each micro-batch, and `enqueue` once. Labels
never come here: a label miner is given `allowed_NK`.

Shapes: N clips of this rank, M of all ranks, K bank rows, L = 1 + K columns, D features, P mined rows per query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cprspec.errors import CprspecError, Problem
from cprspec.learning.bank import Bank
from cprspec.learning.cascade import Mined
from cprspec.learning.exchange import gather_cat, inverse, take, world_size
from cprspec.learning.groups import in_groups
from cprspec.learning.losses import log_of_sum, mean_of_logs, without_own_key
from cprspec.learning.similarity import similarity

LOSSES = {"log_of_sum": log_of_sum, "mean_of_logs": mean_of_logs}

ToInput = Callable[[Tensor], Tensor]
"""From clips as the loader gives them (uint8) to what a network takes."""


class MinerLike(Protocol):
    """The one interface of miners; see learning/cascade.py."""

    def __call__(
        self,
        main_ND: Tensor,
        aux_ND: Tensor,
        bank_main_KD: Tensor,
        bank_aux_KD: Tensor,
        eligible_NK: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Mined:
        """Choose positives among each query's eligible rows."""
        ...


@frozen(kw_only=True)
class Step:
    """What one forward pass found.

    `positive_NL` is as it was before own keys were dropped; `eligible_NK` says which rows a miner may choose. `mined` is
    None where nothing was mined: without a miner and while the bank fills (`warm_up`).
    """

    loss: Tensor
    logits_NL: Tensor
    positive_NL: Tensor
    query_ND: Tensor
    key_ND: Tensor
    mining_ND: Tensor | None
    mined: Mined | None
    eligible_NK: Tensor
    warm_up: bool


class MoCo(nn.Module):
    """Query encoder, key encoder, bank and, in a mining phase, sampler and miner. Gradients reach `encoder_q` only.

    `encoder` becomes `encoder_q`. `bn_groups` is over all ranks: in so many groups a batch is normalised; with fewer
    groups than ranks each rank is one. `to_input` and `mining_input` prepare clips, after the exchange between ranks.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        queue_size: int,
        embedding: int,
        temperature: float,
        momentum: float,
        sampler: nn.Module | None = None,
        miner: MinerLike | None = None,
        mining_embedding: int | None = None,
        bn_groups: int = 1,
        loss: str = "log_of_sum",
        siblings: str = "positive",
        to_input: ToInput | None = None,
        mining_input: ToInput | None = None,
        autocast: torch.dtype | None = None,
        generator: torch.Generator | None = None,
        bank_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if bn_groups > world_size() and bn_groups % world_size():
            message = f"bn_groups = {bn_groups} cannot be shared by {world_size()} processes"
            raise CprspecError(Problem(message, hint="use a number of processes that divides it"))
        self.encoder_q = encoder
        self.encoder_k = deepcopy(encoder).requires_grad_(False)
        self.sampler = sampler.eval().requires_grad_(False) if sampler is not None else None
        self.miner = miner
        mining_embedding = (mining_embedding or embedding) if sampler else None
        self.bank = Bank(queue_size, embedding, mining_embedding, generator, bank_dtype)
        self.temperature = temperature
        self.groups = max(1, bn_groups // world_size())
        self.row_loss = LOSSES[loss]
        self.siblings = siblings
        self.to_input = to_input or _as_is
        self.mining_input = mining_input or _as_is
        self.autocast = autocast
        self._towards_query = get_ema_multi_avg_fn(momentum)

    @property
    def warming_up(self) -> bool:
        """Whether a mining phase still fills its bank: nothing is mined, and the loop makes no optimiser step."""
        return self.sampler is not None and self.miner is not None and not self.bank.full

    def train(self, mode: bool = True) -> MoCo:
        """Set training mode; the sampler stays in evaluation mode, since it is frozen."""
        super().train(mode)
        if self.sampler is not None:
            self.sampler.eval()
        return self

    @torch.no_grad()
    def momentum_update(self) -> None:
        """Move the key encoder's parameters towards the query encoder's. Batch-norm statistics are each one's own."""
        self._towards_query(list(self.encoder_k.parameters()), list(self.encoder_q.parameters()), 0)

    def forward(
        self,
        query_clip: Tensor,
        key_clip: Tensor,
        mining_clip: Tensor | None,
        video_N: Tensor,
        source_N: Tensor,
        *,
        permutation_M: Tensor,
        drop_own: bool,
        allowed_NK: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Step:
        """Contrast N clips with their keys and the bank as it is.

        `permutation_M` shuffles the key batch of all ranks; `drop_own`: own keys are dropped where there are other
        positives; `allowed_NK` narrows what may be mined; `generator` is for miners that choose at random.
        `video_N` names the clips as the bank does and is used by nothing but `enqueue`.
        """
        query_ND = self._embed(self.encoder_q, self.to_input(query_clip), self.groups)
        key_ND, mining_ND = self._keys(key_clip, mining_clip, permutation_M)
        own_N1, others_NK = (query_ND * key_ND).sum(1, keepdim=True), similarity(query_ND, self.bank.key_KD)
        logits_NL = torch.cat([own_N1, others_NK], dim=1)
        logits_NL = logits_NL / self.temperature
        sibling_NK = self.bank.siblings(source_N)
        eligible_NK = self.bank.filled_K & ~sibling_NK
        if allowed_NK is not None:
            eligible_NK = eligible_NK & allowed_NK
        warm_up = self.warming_up
        mined = None
        if self.miner is not None and not warm_up:
            mined = self._mine(query_ND, key_ND, mining_ND, eligible_NK, generator)
        alike_NK = sibling_NK
        if self.sampler is None and allowed_NK is not None:
            # Labels alone say what is alike (UberNCE): a sibling of another class is not.
            alike_NK = sibling_NK & allowed_NK
        positive_NL = self._positives(alike_NK, mined)
        return Step(
            loss=self._loss(logits_NL, positive_NL, sibling_NK, drop_own), warm_up=warm_up,
            logits_NL=logits_NL, positive_NL=positive_NL, mined=mined, eligible_NK=eligible_NK,
            query_ND=query_ND, key_ND=key_ND, mining_ND=mining_ND,
        )  # fmt: skip

    def enqueue(self, steps: Sequence[Step], video_N: Tensor, source_N: Tensor) -> None:
        """Write the clips of one optimiser step into the bank: micro-batches in order, in each rank 0's clips first.

        `video_N` and `source_N` are this rank's, over all of `steps`. Call it after the backward pass, which needs the
        bank as it was.
        """
        sizes = [len(step.key_ND) for step in steps]
        mining_MD = None
        if self.sampler is not None:
            mining_MD = torch.cat([gather_cat(step.mining_ND) for step in steps if step.mining_ND is not None])
        self.bank.enqueue(
            torch.cat([gather_cat(step.key_ND) for step in steps]),
            mining_MD,
            torch.cat([gather_cat(part) for part in torch.split(video_N, sizes)]),
            torch.cat([gather_cat(part) for part in torch.split(source_N, sizes)]),
        )

    def _embed(self, encoder: nn.Module, clip_N: Tensor, groups: int) -> Tensor:
        # Only the networks run in the lower precision; features and all that follows are float32.
        device = clip_N.device.type
        with torch.autocast(device, self.autocast) if self.autocast else nullcontext():
            raw_ND = in_groups(encoder, clip_N, groups)
        return normalize(raw_ND.float() if raw_ND.dtype in (torch.bfloat16, torch.float16) else raw_ND)

    @torch.no_grad()
    def _keys(
        self, key_clip: Tensor, mining_clip: Tensor | None, permutation_M: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        shuffled_ND = self._embed(self.encoder_k, self.to_input(take(key_clip, permutation_M)), self.groups)
        key_ND = take(shuffled_ND, inverse(permutation_M))
        if self.sampler is None:
            return key_ND, None
        if mining_clip is None:
            raise CprspecError("a phase that mines with another view needs that view of each clip")
        return key_ND, self._embed(self.sampler, self.mining_input(mining_clip), 1)

    @torch.no_grad()
    def _mine(
        self,
        query_ND: Tensor,
        key_ND: Tensor,
        mining_ND: Tensor | None,
        eligible_NK: Tensor,
        generator: torch.Generator | None,
    ) -> Mined:
        assert self.miner is not None
        main_ND, main_KD = (mining_ND, self.bank.mining_KD) if self.sampler is not None else (key_ND, self.bank.key_KD)
        assert main_ND is not None
        assert main_KD is not None
        return self.miner(main_ND, query_ND.detach(), main_KD, self.bank.key_KD, eligible_NK, generator=generator)

    def _positives(self, sibling_NK: Tensor, mined: Mined | None) -> Tensor:
        # Column 0, the own key, is always one; in a phase without a miner it is the only one.
        positive_NL = sibling_NK.new_zeros((len(sibling_NK), 1 + len(self.bank)))
        positive_NL[:, 0] = True
        if self.miner is not None and self.siblings == "positive":
            positive_NL[:, 1:] = sibling_NK
        if mined is not None:
            # A missing row (-1) points at column 0, which is set anyway.
            positive_NL.scatter_(1, mined.rows_NP + 1, True)
        return positive_NL

    def _loss(self, logits_NL: Tensor, positive_NL: Tensor, sibling_NK: Tensor, drop_own: bool) -> Tensor:
        if self.miner is not None and self.siblings == "ignore":
            ignored_NL = torch.cat([torch.zeros_like(sibling_NK[:, :1]), sibling_NK], dim=1)
            logits_NL = logits_NL.masked_fill(ignored_NL, -torch.inf)
        return self.row_loss(logits_NL, without_own_key(positive_NL) if drop_own else positive_NL).mean()


def own_key_accuracy(logits_NL: Tensor) -> Tensor:
    """The share of queries whose own key, in column 0, has the highest logit of all."""
    return (logits_NL[:, 0] > logits_NL[:, 1:].amax(1)).float().mean()


def spread(embedding_ND: Tensor) -> Tensor:
    """How much embeddings differ: mean over dimensions of their standard deviation, times sqrt(D).

    About 1 when they cover the unit sphere, 0 when all are the same (collapse).
    """
    deviation_D = embedding_ND.detach().std(dim=0, correction=0)
    return deviation_D.mean() * math.sqrt(embedding_ND.shape[1])


def _as_is(clip: Tensor) -> Tensor:
    return clip
