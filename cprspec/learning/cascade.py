"""Miners: who chooses positives in the bank, by cascade or, for reference, by labels.

Cascade Positive Retrieval (Wu et al., arXiv:2201.07989): stage s keeps the best floor(K * ratio**s) of the rows that the
stage before kept; odd stages score the main (mining) view, even ones the auxiliary (trained) view. The last stage scores
the main view and goes straight to `topk`. One stage is CoCLR's top-k. Rows that are not eligible are out in every stage,
and no stage keeps fewer than `topk` (PROTOCOL 0.3).

Shapes: N queries, K bank rows, D features, P positives mined for each query, C rows a stage keeps.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import pad

NONE = -1
"""In place of a bank row where there is none."""


@frozen
class Mined:
    """What a miner chose: bank rows `[N,P]` int64, best first, -1 for none; and what each stage kept, `[N,C]` alike."""

    rows_NP: Tensor
    survivors: tuple[Tensor, ...]


@frozen(kw_only=True)
class Cascade:
    """Keep a share of the bank by one view, look with the other, and so on, then take the best `topk`."""

    stages: int
    ratio: float
    topk: int

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
        """Mine for each query among its eligible rows. Features are normalised; `generator` is not used."""
        by_main_NK = (main_ND @ bank_main_KD.T).masked_fill(~eligible_NK, -torch.inf)
        by_aux_NK = (aux_ND @ bank_aux_KD.T).masked_fill(~eligible_NK, -torch.inf)
        rows_NC = torch.arange(len(bank_main_KD), device=main_ND.device).expand_as(eligible_NK)
        survivors = []
        for stage in range(1, self.stages + 1):
            scores_NK = by_main_NK if stage % 2 or stage == self.stages else by_aux_NK
            best = scores_NK.gather(1, rows_NC).topk(min(self.keeps(stage, len(bank_main_KD)), rows_NC.shape[1]))
            rows_NC = rows_NC.gather(1, best.indices)
            survivors.append(rows_NC.masked_fill(best.values == -torch.inf, NONE))
        rows_NP = survivors[-1]
        return Mined(pad(rows_NP, (0, self.topk - rows_NP.shape[1]), value=NONE), tuple(survivors))

    def keeps(self, stage: int, bank_size: int) -> int:
        """How many rows `stage` (from 1) keeps of a bank of `bank_size`."""
        if stage == self.stages:
            return self.topk
        # The published code truncates the floating-point product: 100 rows at .7**2 are 48.
        return max(int(bank_size * self.ratio**stage), self.topk)


@frozen(kw_only=True)
class LabelPick:
    """The label-mining reference: `topk` random eligible rows, where eligible means same label; 0 takes them all."""

    topk: int

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
        """Pick among eligible rows; the same `generator` state makes the same picks. Features are not looked at."""
        if self.topk == 0:
            rows_K = torch.arange(eligible_NK.shape[1], device=eligible_NK.device)
            rows_NP = rows_K.expand_as(eligible_NK).masked_fill(~eligible_NK, NONE)
        else:
            lot_NK = torch.rand(eligible_NK.shape, generator=generator, device=eligible_NK.device)
            best = lot_NK.masked_fill(~eligible_NK, -1).topk(min(self.topk, eligible_NK.shape[1]))
            rows_NP = best.indices.masked_fill(best.values < 0, NONE)
            rows_NP = pad(rows_NP, (0, self.topk - rows_NP.shape[1]), value=NONE)
        return Mined(rows_NP, (rows_NP,))
