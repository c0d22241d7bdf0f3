"""Mining a recorded epoch again, for as many settings as one likes at once: the mining laboratory.

What training did around its miner is done here in its order: eligible rows, mining by each rank for its own part of the
batch, what the ledger is told, then the step's rows into the bank. So a run's own setting gives its own ledger. For any
other setting the embeddings are those that the run's setting led to: encoders are held fixed. Similarities are computed
once for all settings, and cascades that begin alike share those stages (learning/cascade.py).

Legend: N clips of one rank's part, K bank rows, P picks of a query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from attrs import define, frozen
from numpy.typing import NDArray
from torch import Tensor

from cprspec.learning.cascade import Cascade, Mined, Scores
from cprspec.learning.moco import MinerLike
from cprspec.mining.banks import Look, Replayed
from cprspec.mining.funnel import Truth
from cprspec.mining.picks import bank_truth, picked, same_class, stage_ranks
from cprspec.mining.recording import Recording

Draws = Callable[[tuple[int, ...]], torch.Generator]
"""The random numbers of a miner, by (epoch, step, micro-batch, rank, ...), as training drew them."""


class Ledger(Protocol):
    """Whoever is told what was mined for whom; training/ledger.py."""

    def add(
        self,
        query_N: Tensor,
        selected_NP: Tensor,
        counts: Tensor,
        *,
        direction: str,
        ranks: Callable[[NDArray[np.int64]], Tensor],
    ) -> None:
        """Queries and picks as video ids (-1: none), their `stage_counts`; `ranks` gives `stage_ranks` of some rows."""
        ...


@define(eq=False)
class Setting:
    """A miner to try, whether it mines by labels, the ledger it is told to, and the seconds it took by itself."""

    miner: MinerLike
    by_labels: bool
    ledger: Ledger
    seconds: float = 0.0


@frozen(eq=False)
class _Part:
    """What one rank mined for at a time in one direction; `..._of_class` is for miners by labels."""

    look: Look
    scores: Scores
    video_N: Tensor
    eligible_NK: Tensor
    truth: Truth
    eligible_of_class_NK: Tensor
    truth_of_class: Truth
    generator: Callable[[], torch.Generator]


@torch.no_grad()
def replay(
    recording: Recording,
    bank: Replayed,
    settings: Sequence[Setting],
    draws: Draws,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Mine the recorded epoch for each of `settings` and tell their ledgers; `progress` is (steps done, all steps).

    `bank` is `bank_of(recording)`, and afterwards as the epoch left it.
    """
    size = recording.epoch.batch_size
    for step in range(recording.steps):
        if bank.mines:
            for micro in range(recording.epoch.accumulate):
                for parts in _parts(recording, bank, draws, step, micro):
                    for setting in settings:
                        _mine(setting, parts, bank.video_K)
        bank.take(slice(step * size, (step + 1) * size))
        if progress:
            progress(step + 1, recording.steps)


def _parts(recording: Recording, bank: Replayed, draws: Draws, step: int, micro: int) -> list[list[_Part]]:
    """For each direction the parts of one micro-batch, rank by rank."""
    epoch, found = recording.epoch, []
    for rank in range(epoch.world_size):
        first = step * epoch.batch_size + (micro * epoch.world_size + rank) * recording.part
        rows = slice(first, first + recording.part)
        video_N = recording.video_M[rows]
        eligible_NK = bank.eligible(recording.source_V[video_N])
        of_class_NK = eligible_NK & same_class(recording.label_V, video_N, bank.video_K)
        truths = [bank_truth(recording.label_V, video_N, bank.video_K, each) for each in (eligible_NK, of_class_NK)]
        key = (epoch.epoch, step, micro, rank)
        found.append(
            [
                _Part(
                    look=look,
                    scores=Scores.of(look.main_ND, look.aux_ND, look.main_KD, look.aux_KD, eligible_NK),
                    video_N=video_N,
                    eligible_NK=eligible_NK,
                    truth=truths[0],
                    eligible_of_class_NK=of_class_NK,
                    truth_of_class=truths[1],
                    generator=partial(draws, (*key, *look.place)),
                )
                for look in bank.looks(rows)
            ]
        )
    return [list(parts) for parts in zip(*found, strict=True)]


def _mine(setting: Setting, parts: Sequence[_Part], bank_video_K: Tensor) -> None:
    """One micro-batch of all ranks in one direction for one setting, entered into its ledger as a whole."""
    began = time.perf_counter()
    selected, counts, mined = [], [], []
    for part in parts:
        truth = part.truth_of_class if setting.by_labels else part.truth
        mined.append(_choose(setting, part))
        selected_NP, counted = picked(mined[-1], truth, bank_video_K)
        selected.append(selected_NP)
        counts.append(counted)
    videos = torch.cat([part.video_N for part in parts])
    setting.ledger.add(
        videos.cpu(),
        torch.cat(selected).cpu(),
        torch.stack(counts).sum(0).cpu(),
        direction=parts[0].look.direction,
        ranks=partial(_ranks, mined),
    )
    setting.seconds += time.perf_counter() - began


def _ranks(mined: Sequence[Mined], row_R: NDArray[np.int64]) -> Tensor:
    """`stage_ranks` of some rows of what all ranks mined, in the rows' order."""
    each = len(mined[0].rows_NP)
    parts = [torch.from_numpy(row_R[row_R // each == r] % each).to(own.rows_NP.device) for r, own in enumerate(mined)]
    return torch.cat([stage_ranks(own, rows) for own, rows in zip(mined, parts, strict=True)]).cpu()


def _choose(setting: Setting, part: _Part) -> Mined:
    if isinstance(setting.miner, Cascade) and not setting.by_labels:
        return setting.miner.choose(part.scores)
    look = part.look
    eligible_NK = part.eligible_of_class_NK if setting.by_labels else part.eligible_NK
    return setting.miner(look.main_ND, look.aux_ND, look.main_KD, look.aux_KD, eligible_NK, generator=part.generator())
