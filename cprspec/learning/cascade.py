"""Miners: who chooses positives in the bank, by cascade or, for reference, by labels.

Cascade Positive Retrieval (Wu et al., arXiv:2201.07989): stage s keeps the best floor(K * ratio**s) of the rows that the
stage before kept; odd stages score the main (mining) view, even ones the auxiliary (trained) view. The last stage scores
the main view and goes straight to `topk`. One stage is CoCLR's top-k. Rows that are not eligible are out in every stage,
and no stage keeps fewer than `topk` (PROTOCOL 0.3).

Both views are scored once; stages then select among scores (learning/highest.py). No stage but the last puts what it keeps in
order, since sorting half a bank costs several times what finding that half does. Of rows with equal scores the first in the
bank are kept, and come first, on a CPU; on a GPU any.

Shapes: N queries, K bank rows, D features, P positives mined for each query, C rows a stage keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import pad

from cprspec.learning.highest import exclude, highest, marked
from cprspec.learning.similarity import similarity

NONE = -1
"""In place of a bank row where there is none."""


SCORES_AT_ONCE = 2**25
"""Scores of one view in memory at a time, 128 MiB: more queries than that are mined for in turn, with the same result."""


@frozen
class Mined:
    """What a miner chose: bank rows `[N,P]` int64, best first, -1 for none; and what each stage kept, `[N,C]` alike.

    `scores`: each stage's of its survivors, `[N,C]`, -inf for none; then survivors are in no order but the last stage's.
    None: survivors stand best first.
    """

    rows_NP: Tensor
    survivors: tuple[Tensor, ...]
    scores: tuple[Tensor, ...] | None = None


Plan = tuple[tuple[bool, int, bool], ...]
"""For each stage: whether it scores the main view, how many rows it keeps, and whether it is the last, in order."""


@frozen(eq=False)
class Scores:
    """What a cascade looks at, both `[N,K]` with -inf where a row is not eligible, and what stages kept of it so far.

    Cascades that begin alike share that work when they are given the same `Scores`.
    """

    by_main_NK: Tensor
    by_aux_NK: Tensor
    _kept: dict[Plan, tuple[Tensor, Tensor, Tensor]] = field(factory=dict, init=False)

    @classmethod
    @torch.no_grad()
    def of(
        cls, main_ND: Tensor, aux_ND: Tensor, bank_main_KD: Tensor, bank_aux_KD: Tensor, eligible_NK: Tensor
    ) -> Scores:
        """The similarity of each query to each bank row, in both views; features are normalised."""
        scores = cls(similarity(main_ND, bank_main_KD), similarity(aux_ND, bank_aux_KD))
        exclude(~eligible_NK, scores.by_main_NK, scores.by_aux_NK)
        return scores

    def keep(self, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
        """What the last stage of `plan` keeps: bank rows `[N,C]`, their scores, and the rows with -1 for none.

        The last stage of a cascade (it keeps what is mined) gives the best first, others in no order.
        """
        if plan not in self._kept:
            by_main, size, ordered = plan[-1]
            scores_NK = self.by_main_NK if by_main else self.by_aux_NK
            rows_NC = self.keep(plan[:-1])[0] if len(plan) > 1 else None
            rows_NC, scores_NC = highest(scores_NK, rows_NC, size, ordered=ordered)
            self._kept[plan] = rows_NC, scores_NC, marked(rows_NC, scores_NC, NONE)
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
        at_once = max(1, SCORES_AT_ONCE // max(1, len(bank_main_KD)))
        if len(main_ND) <= at_once:
            return self.choose(Scores.of(main_ND, aux_ND, bank_main_KD, bank_aux_KD, eligible_NK))
        some = zip(main_ND.split(at_once), aux_ND.split(at_once), eligible_NK.split(at_once), strict=True)
        return joined([self.choose(Scores.of(main, aux, bank_main_KD, bank_aux_KD, may)) for main, aux, may in some])

    def choose(self, scores: Scores) -> Mined:
        """Mine by similarities that are known already."""
        plan = self.plan(scores.by_main_NK.shape[1])
        kept = [scores.keep(plan[:stage]) for stage in range(1, self.stages + 1)]
        rows_NP = kept[-1][2]
        missing = self.topk - rows_NP.shape[1]
        survivors, scores_of = tuple(rows for _, _, rows in kept), tuple(of_them for _, of_them, _ in kept)
        return Mined(pad(rows_NP, (0, missing), value=NONE), survivors, scores_of)

    def plan(self, bank_size: int) -> Plan:
        """What each stage scores, and how many rows of a bank of `bank_size` it keeps."""
        stages = range(1, self.stages + 1)
        return tuple((s % 2 == 1 or s == self.stages, self.keeps(s, bank_size), s == self.stages) for s in stages)

    def keeps(self, stage: int, bank_size: int) -> int:
        """How many rows `stage` (from 1) keeps of a bank of `bank_size`."""
        if stage == self.stages:
            return self.topk
        # The published code truncates the floating-point product: 100 rows at .7**2 are 48.
        return max(int(bank_size * self.ratio**stage), self.topk)


def joined(parts: Sequence[Mined]) -> Mined:
    """What was mined for some queries after others, as one; all by the same cascade."""
    survivors = tuple(torch.cat(stage) for stage in zip(*(part.survivors for part in parts), strict=True))
    scores = tuple(torch.cat(stage) for stage in zip(*(part.scores or () for part in parts), strict=True))
    return Mined(torch.cat([part.rows_NP for part in parts]), survivors, scores)


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
