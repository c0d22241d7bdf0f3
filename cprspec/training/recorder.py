"""Records the embeddings of every epoch that mines, so that `cprspec mine` can mine the last one again.

Rank 0 keeps a step's rows on the CPU and writes the file when the epoch is over: training waits for one copy of a few
kilobytes in each step and for one write in each epoch. State goes into a checkpoint, so that an epoch resumed
half-way is recorded whole; where a checkpoint has no such state, that one epoch is not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cprspec.learning.exchange import gather_cat
from cprspec.learning.waits import waiting
from cprspec.mining.recording import RecordedEpoch, Recording
from cprspec.runs.files import atomic_write_bytes
from cprspec.training.job import Job
from cprspec.training.stepper import Stepper

VIDEO = "video_M"
"""Which videos the clips of the epoch are of; there in every step that was recorded."""


class Recorder:
    """Collects one epoch at a time; every rank calls it alike. Does nothing in a phase without a miner."""

    def __init__(self, job: Job, stepper: Stepper) -> None:
        self._job, self._stepper = job, stepper
        self._wanted = job.launch.replay and job.phase.miner is not None
        self._clear()

    def _clear(self) -> None:
        self._bank: dict[str, Tensor] = {}
        self._clips: dict[str, list[Tensor]] = {}
        self._whole = True

    @waiting()
    def add(self) -> None:
        """The stepper's optimiser step, before the bank takes it in."""
        if not self._wanted:
            return
        first = self._job.ranks.first
        if first and not self._bank:
            self._bank = {name: rows.to("cpu", copy=True) for name, rows in self._stepper.bank().items()}
        for embedded in self._stepper.embedded():
            for name, rows_N in embedded.items():
                rows_M = gather_cat(rows_N)
                if first:
                    self._clips.setdefault(name, []).append(rows_M.to("cpu", copy=True))

    def finish(self, epoch: int) -> None:
        """Write the epoch in place of the one before, and begin another."""
        if self._wanted and self._whole and self._job.ranks.first:
            path = self._job.folder / "mining" / "replay.safetensors"
            atomic_write_bytes(path, self._recording(epoch).to_bytes())
        self._clear()

    def _recording(self, epoch: int) -> Recording:
        job, phase = self._job, self._job.phase
        facts = RecordedEpoch(
            phase=phase.name,
            dataset=phase.dataset,
            epoch=epoch,
            seed=phase.seed,
            batch_size=phase.batch_size,
            accumulate=phase.accumulate,
            world_size=job.ranks.world,
            threads=torch.get_num_threads(),
            device=job.ranks.device.type,
            directions=dict(self._stepper.directions),
            replay=dict(self._stepper.replay),
        )
        return Recording(
            epoch=facts,
            bank=self._bank,
            clips=self._joined(),
            label_V=torch.from_numpy(job.index.labels),
            source_V=torch.from_numpy(job.index.source_ids),
            usable_U=torch.from_numpy(job.index.ids("train")),
            classes=job.index.classes,
            names=tuple(video.name for video in job.index.videos),
        )

    def _joined(self) -> dict[str, Tensor]:
        return {name: torch.cat(parts) for name, parts in self._clips.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything of the epoch so far, for a checkpoint of rank 0; empty between epochs."""
        if not self._whole:
            return {}
        clips = {f"clips.{name}": rows_M for name, rows_M in self._joined().items()}
        return clips | {f"bank.{name}": rows for name, rows in self._bank.items()}

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on at `step` of an epoch from what `state` gave; without its steps the epoch is left out."""
        self._clear()
        self._whole = step == 0 or f"clips.{VIDEO}" in state
        for name, rows in state.items():
            part, _, own = name.partition(".")
            if part == "bank":
                self._bank[own] = rows
            else:
                self._clips[own] = [rows]
