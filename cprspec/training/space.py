"""Whether the disk has room for what a run will surely write, asked before it starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from cprspec.errors import CprspecError, Place, Problem
from cprspec.models.encoders import build_encoder
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.checkpoint import in_order
from cprspec.training.estimate import OPTIMIZER_STATES, bank_bytes
from cprspec.training.reuse import FINISHED


def check_space(resolved: Resolved, runs: Path, run: RunDir | None) -> None:
    """CprspecError, with both numbers, where the disk of the folder `runs` has less room than the run needs at least."""
    needed = needed_bytes(resolved, run)
    folder = next(p for p in (runs.absolute(), *runs.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"the run needs at least {_mib(needed)} for its checkpoints, and {_mib(free)} are free there"
        raise CprspecError(Problem(message, Place(str(folder)), "make room, or choose another disk with --runs"), 1)


def needed_bytes(resolved: Resolved, run: RunDir | None) -> int:
    """One checkpoint of each phase that is not finished, and another one of the largest while that is replaced."""
    unfinished = [p for p in resolved.phases if run is None or not (run.phase(p.name) / FINISHED).exists()]
    sizes = [checkpoint_bytes(phase) for phase in unfinished]
    # What is damaged, or stays beside for another reason, makes no room when it is replaced.
    old = [f for phase in unfinished for f in in_order(run.checkpoints(phase.name))] if run is not None else []
    there = sum(_size(folder) for folder in old)
    return max(0, sum(sizes) + max(sizes, default=0) - there)


def checkpoint_bytes(phase: Phase) -> int:
    """A lower bound: the framework's networks, optimiser states and the queue. Banks of IIC are left out."""
    with torch.device("meta"):
        encoder = build_encoder(phase)
    weights: int = 4 * sum(t.numel() for t in encoder.state_dict().values())
    return weights * (phase.framework.networks + OPTIMIZER_STATES.get(phase.optimizer.name, 1)) + bank_bytes(phase)


def _size(folder: Path) -> int:
    return sum(os.path.getsize(p) for p in folder.rglob("*") if p.is_file())  # noqa: PTH202 - stat of a whole tree


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
