"""What training one phase needs, and where it stands."""

from __future__ import annotations

from pathlib import Path

import torch
from attrs import define, field, frozen

from cprspec import faults
from cprspec.data.index import Index
from cprspec.learning.ranks import Ranks
from cprspec.mining.picks import same_class
from cprspec.spec.kinds import View
from cprspec.spec.schema import Launch, Phase
from cprspec.training.pulse import Pulse
from cprspec.training.report import Reporter
from cprspec.training.signals import StopRequest
from cprspec.video.store import Store


@define
class Tally:
    """Where training stands (the next step of the epoch) and what the epoch has added up to; goes into checkpoints.

    `replaced` clips could not be read in the epoch, and the videos `told` were named for it so far.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    own_key: float = 0.0
    seconds: float = 0.0
    replaced: int = 0
    told: list[int] = field(factory=list)


@frozen(kw_only=True)
class Allowed:
    """What a user allows a run that goes on, by name: an earlier checkpoint than a damaged one, another number of ranks."""

    fallback: bool = False
    world_size_change: bool = False


@frozen(kw_only=True)
class Job:
    """All that training one phase needs; the same on every rank.

    `label_V` and `source_V` are each video's, on the device; labels are for the ledger and the label-mining references.
    """

    phase: Phase
    views: dict[str, View]
    mining_view: str | None
    index: Index
    store: Store
    launch: Launch
    ranks: Ranks
    folder: Path
    fingerprint: str
    label_V: torch.Tensor
    source_V: torch.Tensor
    steps_per_epoch: int
    report: Reporter
    stop: StopRequest
    alive: Pulse
    allowed: Allowed
    stop_file: Path

    @property
    def checkpoints(self) -> Path:
        """Where this phase's checkpoints lie in the run directory."""
        return self.folder / "checkpoints"

    def alike(self, video_N: torch.Tensor, bank_K: torch.Tensor) -> torch.Tensor | None:
        """For a miner by labels, which of the bank's videos (-1: none) have each clip's label, `[N,K]`; else None."""
        if self.phase.miner is None or not self.phase.miner.by_labels:
            return None
        return same_class(self.label_V, video_N, bank_K)

    def global_step(self, tally: Tally) -> int:
        """Optimiser steps of the phase that are done at `tally`."""
        return tally.epoch * self.steps_per_epoch + tally.step

    def suffer(self, place: str, step: int) -> bool:
        """Suffer the fault that a test asked for at this place of a step (faults.py); whether the loss is spoiled."""
        return faults.strike(place, rank=self.ranks.rank, step=step, phase=self.phase.name)
