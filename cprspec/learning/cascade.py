"""Miners: who chooses positives in the bank, by cascade or, for reference, by labels.

Cascade Positive Retrieval (Wu et al., arXiv:2201.07989): stage s keeps the best floor(K * ratio**s) of the rows that the
stage before kept; odd stages score the main (mining) view, even ones the auxiliary (trained) view. The last stage scores
the main view and goes straight to `topk`. One stage is CoCLR's top-k. Rows that are not eligible are out in every stage,
and no stage keeps fewer than `topk` (PROTOCOL 0.3).

Shapes: N queries, K bank rows, D features, P positives mined for each query, C rows a stage keeps.
"""

from __future__ import annotations

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import pad

NONE = -1
"""In place of a bank row where there is none."""


@frozen
class Mined:
    """What a miner chose: bank rows `[N,P]` int64, best first, -1 for none; and what each stage kept, `[N,C]` alike."""

    rows_NP: Tensor
    survivors: tuple[Tensor, ...]


Plan = tuple[tuple[bool, int], ...]
"""For each stage: whether it scores the main view, and how many rows it keeps."""


@frozen(eq=False)
class Scores:
    """What a cascade looks at, both `[N,K]` with -inf where a row is not eligible, and what stages kept of it so far.

    Cascades that begin alike share that work when they are given the same `Scores`.
    """

    by_main_NK: Tensor
    by_aux_NK: Tensor
    _kept: dict[Plan, tuple[Tensor, Tensor]] = field(factory=dict, init=False)

    @classmethod
    def of(
        cls, main_ND: Tensor, aux_ND: Tensor, bank_main_KD: Tensor, bank_aux_KD: Tensor, eligible_NK: Tensor
    ) -> Scores:
        """The similarity of each query to each bank row, in both views; features are normalised."""
        by_main_NK = (main_ND @ bank_main_KD.T).masked_fill(~eligible_NK, -torch.inf)
        return cls(by_main_NK, (aux_ND @ bank_aux_KD.T).masked_fill(~eligible_NK, -torch.inf))

    def keep(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """The bank rows `[N,C]` that the last stage of `plan` keeps, best first, and the same with -1 for none."""
        if not plan:
            rows_NK = torch.arange(self.by_main_NK.shape[1], device=self.by_main_NK.device).expand_as(self.by_main_NK)
            return rows_NK, rows_NK
        if plan not in self._kept:
            rows_NC, _ = self.keep(plan[:-1])
            by_main, size = plan[-1]
            scores_NK = self.by_main_NK if by_main else self.by_aux_NK
            best = scores_NK.gather(1, rows_NC).topk(min(size, rows_NC.shape[1]))
            rows_NC = rows_NC.gather(1, best.indices)
            self._kept[plan] = rows_NC, rows_NC.masked_fill(best.values == -torch.inf, NONE)
        return self._kept[plan]


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
        return self.choose(Scores.of(main_ND, aux_ND, bank_main_KD, bank_aux_KD, eligible_NK))

    def choose(self, scores: Scores) -> Mined:
        """Mine by similarities that are known already."""
        plan = self.plan(scores.by_main_NK.shape[1])
        survivors = tuple(scores.keep(plan[:stage])[1] for stage in range(1, self.stages + 1))
        rows_NP = survivors[-1]
        return Mined(pad(rows_NP, (0, self.topk - rows_NP.shape[1]), value=NONE), survivors)

    def plan(self, bank_size: int) -> Plan:
        """What each stage scores, and how many rows of a bank of `bank_size` it keeps."""
        stages = range(1, self.stages + 1)
        return tuple((s % 2 == 1 or s == self.stages, self.keeps(s, bank_size)) for s in stages)

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
