"""IIC: two views of a video contrasted through memory banks, with intra-negatives, and positives mined in the banks.

One encoder sees both views. A clip's feature in one view is contrasted with bank rows of the other view: its own video's
row against rows drawn at random, and against rows of a third bank, of clips without their motion (learning/intra.py).
Features are not normalised; bank rows are, from their first update on. With a miner, mined rows are positives too: for the
loss of view 1 it looks with view 2's feature at view 2's bank (main) and with view 1's at view 1's (aux); for view 2 swapped.
Sources: Tao et al. (ACM MM 2020) and its public code; mining: ours, the paper's code has none (PROTOCOL 0.4, 3, 4.2).

In each optimiser step the loop calls `forward` for each micro-batch and `update` once.

Shapes: N clips of this rank, M of all ranks, V training videos (a bank row each), C = 1 + K drawn rows of which the first
is the clip's own, L columns of logits, D features, P mined rows per clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from cprspec.errors import CprspecError, Problem
from cprspec.learning.cascade import Mined
from cprspec.learning.exchange import gather_cat, world_size
from cprspec.learning.groups import in_groups
from cprspec.learning.intra import repeat_frame, swap_quarters
from cprspec.learning.losses import info_nce, log_of_sum
from cprspec.learning.moco import MinerLike, ToInput

TINY = 1e-7
"""What the public code adds to the denominators of the constant-Z loss."""


@frozen(kw_only=True)
class Step:
    """What one forward pass found; pairs are view 1's and view 2's.

    `logits_NL` have the own row in column 0; mined columns that were drawn anyway are -inf. `mined` is None where nothing
    was mined. `eligible_NV`: which rows a miner may choose; None without mining.
    """

    loss: Tensor
    logits_NL: tuple[Tensor, Tensor]
    positive_NL: tuple[Tensor, Tensor] | None
    feature_ND: tuple[Tensor, Tensor]
    intra_ND: Tensor | None
    mined: tuple[Mined, Mined] | None
    eligible_NV: Tensor | None


class IIC(nn.Module):
    """The encoder, the banks of view 1, view 2 and intra-negatives, and a miner or none.

    `source_V` is each training video's source. `bn_groups` is over all ranks, as in MoCo. `to_input` prepares clips of each
    view. `loss`: `softmax` or `constant_z`.
    """

    first_VD: Tensor
    second_VD: Tensor
    intra_VD: Tensor | None
    source_V: Tensor
    updated_V: Tensor
    log_z_2: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        source_V: Tensor,
        embedding: int,
        temperature: float,
        momentum: float,
        intra_negative: str = "repeat",
        loss: str = "softmax",
        miner: MinerLike | None = None,
        bn_groups: int = 1,
        to_input: tuple[ToInput, ToInput] | None = None,
        autocast: torch.dtype | None = None,
        generator: torch.Generator | None = None,
        bank_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if bn_groups > world_size() and bn_groups % world_size():
            message = f"bn_groups = {bn_groups} cannot be shared by {world_size()} processes"
            raise CprspecError(Problem(message, hint="use a number of processes that divides it"))
        self.encoder = encoder
        self.miner = miner
        self.temperature, self.momentum = temperature, momentum
        self.intra_negative, self.constant_z = intra_negative, loss == "constant_z"
        self.groups = max(1, bn_groups // world_size())
        self.first_input, self.second_input = to_input or (_as_is, _as_is)
        self.autocast = autocast
        draw = partial(_first_rows, len(source_V), embedding, generator, bank_dtype)
        self.register_buffer("first_VD", draw())
        self.register_buffer("second_VD", draw())
        self.register_buffer("intra_VD", None if intra_negative == "none" else draw())
        self.register_buffer("source_V", source_V, persistent=False)
        self.register_buffer("updated_V", torch.zeros(len(source_V), dtype=torch.bool))
        self.register_buffer("log_z_2", torch.full((2,), -torch.inf))

    def forward(
        self,
        first_clip: Tensor,
        second_clip: Tensor,
        column_NC: Tensor,
        *,
        intra_N2: Tensor | None = None,
        mining: bool = False,
        allowed_NV: Tensor | None = None,
        generators: tuple[torch.Generator | None, torch.Generator | None] = (None, None),
    ) -> Step:
        """Contrast N clips, given in both views, with the banks as they are.

        `column_NC` are the bank rows to contrast with, the clip's own first. `intra_N2` says how the intra-negative is made:
        the frame to repeat (in column 0), or the two quarters to exchange. `allowed_NV` narrows what may be mined;
        `generators` are for miners that choose at random, one for each direction.
        """
        first = self.first_input(first_clip)
        feature_ND = (self._embed(first), self._embed(self.second_input(second_clip)))
        intra_ND = self._intra(first, intra_N2)
        eligible_NV = mined = None
        if self.miner is not None and mining:
            eligible_NV = self._eligible(column_NC[:, 0], allowed_NV)
            mined = self._mine(feature_ND, eligible_NV, generators)
        logits_NL = (self._logits(0, feature_ND[0], column_NC), self._logits(1, feature_ND[1], column_NC))
        positive_NL = None
        if mined is not None:
            wider = [
                self._with_mined(d, feature_ND[d], logits_NL[d], column_NC, mined[d].rows_NP, eligible_NV)
                for d in range(2)
            ]
            logits_NL = (wider[0][0], wider[1][0])
            positive_NL = (wider[0][1], wider[1][1])
            loss = sum(log_of_sum(x, y).mean() for x, y in zip(logits_NL, positive_NL, strict=True))
        elif self.constant_z:
            loss = sum(self._constant_z_loss(d, logits_NL[d]).mean() for d in range(2))
        else:
            loss = sum(info_nce(x).mean() for x in logits_NL)
        assert isinstance(loss, Tensor)
        return Step(
            loss=loss, logits_NL=logits_NL, positive_NL=positive_NL, feature_ND=feature_ND, intra_ND=intra_ND,
            mined=mined, eligible_NV=eligible_NV,
        )  # fmt: skip

    @torch.no_grad()
    def update(self, steps: Sequence[Step], row_N: Tensor) -> None:
        """Move the bank rows of one optimiser step's clips towards their features: micro-batches in order, of all ranks.

        `row_N` are this rank's own rows over all of `steps`. Call it after the backward pass, which needs the banks as they
        were.
        """
        sizes = [len(step.feature_ND[0]) for step in steps]
        for step, rows in zip(steps, torch.split(row_N, sizes), strict=True):
            row_M = gather_cat(rows)
            for bank_VD, feature_ND in (
                (self.first_VD, step.feature_ND[0]),
                (self.second_VD, step.feature_ND[1]),
                (self.intra_VD, step.intra_ND),
            ):
                if bank_VD is not None and feature_ND is not None:
                    move_rows(bank_VD, row_M, gather_cat(feature_ND), self.momentum)
            self.updated_V[row_M] = True

    def _embed(self, clip_N: Tensor) -> Tensor:
        # Only the network runs in the lower precision; features and all that follows are float32.
        with torch.autocast(clip_N.device.type, self.autocast) if self.autocast else nullcontext():
            feature_ND = in_groups(self.encoder, clip_N, self.groups)
        return feature_ND.float() if feature_ND.dtype in (torch.bfloat16, torch.float16) else feature_ND

    @torch.no_grad()
    def _intra(self, first: Tensor, intra_N2: Tensor | None) -> Tensor | None:
        # It moves batch norm's statistics, as published, and nothing else: no gradient comes from it.
        if self.intra_VD is None:
            return None
        assert intra_N2 is not None
        if self.intra_negative == "repeat":
            return self._embed(repeat_frame(first, intra_N2[:, 0]))
        return self._embed(swap_quarters(first, intra_N2))

    def _logits(self, direction: int, feature_ND: Tensor, column_NC: Tensor) -> Tensor:
        """Columns: the drawn rows of the other view's bank, then the same rows of the intra-negatives' bank."""
        banks = [self._bank(1 - direction), *([self.intra_VD] if self.intra_VD is not None else [])]
        logits = [dot_rows(bank_VD, column_NC, feature_ND) for bank_VD in banks]
        return torch.cat(logits, dim=1) / self.temperature

    def _bank(self, view: int) -> Tensor:
        return self.second_VD if view else self.first_VD

    def _eligible(self, own_N: Tensor, allowed_NV: Tensor | None) -> Tensor:
        eligible_NV = searched_rows(self.updated_V, self.source_V, self.source_V[own_N])
        return eligible_NV if allowed_NV is None else eligible_NV & allowed_NV

    @torch.no_grad()
    def _mine(
        self,
        feature_ND: tuple[Tensor, Tensor],
        eligible_NV: Tensor,
        generators: tuple[torch.Generator | None, torch.Generator | None],
    ) -> tuple[Mined, Mined]:
        assert self.miner is not None
        first_ND, second_ND = (normalize(f.detach()) for f in feature_ND)
        return (
            self.miner(second_ND, first_ND, self.second_VD, self.first_VD, eligible_NV, generator=generators[0]),
            self.miner(first_ND, second_ND, self.first_VD, self.second_VD, eligible_NV, generator=generators[1]),
        )

    def _with_mined(
        self,
        direction: int,
        feature_ND: Tensor,
        logits_NL: Tensor,
        column_NC: Tensor,
        rows_NP: Tensor,
        like_NV: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits with a column for each mined row that was not drawn, and which columns are positive."""
        assert like_NV is not None
        exists_NP, rows_NP = rows_NP >= 0, rows_NP.clamp(min=0)
        # Missing rows point at row 0, which a mined one must not lose: count instead of writing.
        mined_NV = torch.zeros_like(like_NV, dtype=torch.int32).scatter_add_(1, rows_NP, exists_NP.int()) > 0
        drawn_NV = torch.zeros_like(like_NV).scatter_(1, column_NC, True)
        positive_NL = torch.zeros_like(logits_NL, dtype=torch.bool)
        positive_NL[:, : column_NC.shape[1]] = mined_NV.gather(1, column_NC)
        positive_NL[:, 0] = True
        new_NP = exists_NP & ~drawn_NV.gather(1, rows_NP)
        bank_VD = self._bank(1 - direction)
        more_NP = dot_rows(bank_VD, rows_NP, feature_ND) / self.temperature
        more_NP = more_NP.masked_fill(~new_NP, -torch.inf)
        return torch.cat([logits_NL, more_NP], dim=1), torch.cat([positive_NL, new_NP], dim=1)

    def _constant_z_loss(self, direction: int, logits_NL: Tensor) -> Tensor:
        """Noise-contrastive estimation with a constant Z: V times the mean of exp(logit) over the first batch of all ranks.

        In logarithms, since features are not normalised and exp(logit) may be beyond float32. `[N]`.
        """
        log_videos = math.log(len(self.source_V))
        if self.log_z_2[direction].isneginf():
            total = gather_cat(logits_NL.detach().flatten().logsumexp(0)[None]).logsumexp(0)
            self.log_z_2[direction] = total - math.log(logits_NL.numel() * world_size()) + log_videos
        chance = (logits_NL.shape[1] - 1) / len(self.source_V)
        log_p_NL = logits_NL - self.log_z_2[direction]
        log_below = math.log(chance + TINY)
        # -log(P / (P + c)) for the positive, -log(c / (P + c)) for the others.
        own_N = softplus(log_below - log_p_NL[:, 0])
        others_NL = softplus(log_p_NL[:, 1:] - log_below) + (log_below - math.log(chance))
        return own_N + others_NL.sum(1)


def move_rows(bank_VD: Tensor, row_M: Tensor, feature_MD: Tensor, momentum: float) -> None:
    """Move rows of a bank, in place, towards the features of their videos; they are normalised from then on.

    Of a video that is there several times, as one may be that stands for others, the last clip counts.
    """
    moved_MD = normalize(momentum * bank_VD[row_M].to(feature_MD.dtype) + (1 - momentum) * feature_MD)
    # Which of several different values is written last, torch leaves open.
    last_M = ((row_M[:, None] == row_M) * torch.arange(len(row_M), device=row_M.device)).amax(1)
    bank_VD[row_M] = moved_MD[last_M].to(bank_VD.dtype)


def dot_rows(bank_VD: Tensor, rows_NC: Tensor, feature_ND: Tensor) -> Tensor:
    """The dot product of each clip's feature with its own rows of a bank, `[N,C]` in the features' type."""
    return torch.bmm(bank_VD[rows_NC].to(feature_ND.dtype), feature_ND[:, :, None]).squeeze(2)


def searched_rows(updated_V: Tensor, source_V: Tensor, source_N: Tensor) -> Tensor:
    """Which rows hold a feature of another source, bool `[N,V]`: a clip's own row has its own source."""
    return updated_V & (source_V != source_N[:, None])


def _first_rows(videos: int, embedding: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    """Rows before their first update: uniform, of norm about 1."""
    reach = math.sqrt(3 / embedding)
    return ((torch.rand(videos, embedding, generator=generator) * 2 - 1) * reach).to(dtype)


def _as_is(clip: Tensor) -> Tensor:
    return clip
