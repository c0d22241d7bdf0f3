"""What an experiment will cost, before it runs: parameters, memory and steps of each phase, without any weights.

Networks are built on the meta device, where tensors have shapes and no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import asdict, frozen
from torch import nn

from cprspec.components.frameworks import IIC
from cprspec.models.encoders import build_encoder
from cprspec.spec.schema import Phase, Resolved, WeightsFile
from cprspec.training.exchanged import step_exchanges
from cprspec.training.memory import resident_bytes
from cprspec.training.rehearsal import step_bytes
from cprspec.video.clips import clip_bytes
from cprspec.video.supply import slot_bytes, slots_of

OPTIMIZER_STATES = {"adam": 2, "sgd": 1}
"""Tensors that an optimiser keeps for each weight."""

GIB = 2**30

KERNELS = 64 * 2**20
"""Code and tables that kernels bring with them when they are first used, beside what this process has loaded already."""

CHECKPOINT_COPIES = 2
"""Of what a checkpoint holds: the copy that is being written (training/writer.py), and its bytes as the file has them."""


def plan_record(resolved: Resolved, data: Sequence[Mapping[str, Any]], ranks: int = 1) -> dict[str, Any]:
    """The plan as JSON: phases in order, and `data`, the facts of each data set that was read (see spec/presence.py).

    Memory is that of each of so many `ranks`, and so is what they exchange.
    """
    trained_on = next((facts for facts in data if facts["name"] == resolved.train_on), None)
    videos = trained_on["train_videos"] if trained_on else None
    return {"phases": [_phase_record(resolved, phase, videos, ranks) for phase in resolved.phases], "data": list(data)}


def _phase_record(resolved: Resolved, phase: Phase, videos: int | None, ranks: int) -> dict[str, Any]:
    with torch.device("meta"):
        encoder = build_encoder(phase)
    parameters = sum(p.numel() for p in encoder.parameters())
    queue = getattr(phase.framework, "queue_size", None)
    start = phase.start_from
    card = resolved.cards.get(f"phase.{phase.name}.miner")
    memory = memory_of(resolved, phase, videos, ranks)
    return {
        "name": phase.name,
        "views": list(phase.views),
        "backbone": resolved.cards["backbone"],
        "start_from": str(start.file) if isinstance(start, WeightsFile) else start,
        "miner": card,
        "mine_with": phase.mine_with,
        "epochs": phase.epochs,
        "batch_size": phase.batch_size,
        "parameters": parameters,
        "memory_gib": memory and memory.total / GIB,
        "memory": memory and {f"{name}_gib": size / GIB for name, size in asdict(memory).items()},
        "clips_per_epoch": None if videos is None else videos // phase.batch_size * phase.batch_size,
        "queue_fill_steps": -(-queue // phase.batch_size) if queue else None,
        "exchange": _exchange_record(resolved, phase, parameters, videos, ranks),
    }


def _exchange_record(
    resolved: Resolved, phase: Phase, parameters: int, videos: int | None, ranks: int
) -> dict[str, Any] | None:
    """What each rank hands over in a step, by what it is; of one rank, for as many as there are groups, at least two."""
    if ranks == 1:
        ranks = max(2, phase.framework.bn_groups)
    exchanges = step_exchanges(resolved, phase, ranks, parameters, videos)
    if exchanges is None:
        return None
    handed = {exchange.what: exchange.handed for exchange in exchanges}
    return {"ranks": ranks, "bytes_per_step": sum(handed.values()), "of_which": handed}


@frozen(kw_only=True)
class Memory:
    """What a rank that trains a phase has in memory at most, by what it is for, bytes. See docs/running.md."""

    process: int
    networks: int
    optimizer: int
    bank: int
    step: int
    clips: int
    checkpoint: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def memory_of(resolved: Resolved, phase: Phase, videos: int | None, ranks: int = 1) -> Memory | None:
    """The memory of a phase on each of so many ranks; None for a network that cannot be run without data.

    `videos` to train on, as far as it is known: IIC's banks have a row for each.
    """
    sampler = resolved.phase(phase.mine_with) if phase.mine_with else None
    clips = max(2, phase.batch_size // phase.accumulate // ranks)
    groups = max(1, phase.framework.bn_groups // ranks)
    again = resolved.launch.checkpoint_activations
    with torch.device("meta"):
        encoder, miner = build_encoder(phase), build_encoder(sampler) if sampler else None
    try:
        step = step_bytes(phase, sampler, resolved.views, clips, groups=groups, recompute=again)
    except (NotImplementedError, RuntimeError):
        return None  # a plugin's network looks at numbers, which there are none of
    weights, bank = state_bytes(encoder), bank_bytes(phase, videos)
    states = weights * OPTIMIZER_STATES.get(phase.optimizer.name, 2)
    return Memory(
        process=resident_bytes() + KERNELS,
        networks=weights * phase.framework.networks + (state_bytes(miner) if miner else 0),
        optimizer=states,
        bank=bank,
        step=step,
        clips=supply_bytes(phase, resolved, clips),
        checkpoint=CHECKPOINT_COPIES * (weights * phase.framework.networks + states + bank),
    )


def state_bytes(network: nn.Module) -> int:
    """Weights and statistics of a network, float32."""
    size: int = 4 * sum(t.numel() for t in network.state_dict().values())
    return size


def bank_bytes(phase: Phase, videos: int | None = None) -> int:
    """The queue, with the mining view's embeddings beside it where one mines; IIC's banks where the videos are counted."""
    value_bytes = 2 if getattr(phase.framework, "bank_precision", "float32") == "bf16" else 4
    if isinstance(phase.framework, IIC):
        banks = 2 if phase.framework.intra_negative == "none" else 3
        return value_bytes * (videos or 0) * phase.backbone.feature_size * banks
    bank: int = value_bytes * getattr(phase.framework, "queue_size", 0) * phase.framework.head
    return bank * (2 if phase.mine_with else 1)


def supply_bytes(phase: Phase, resolved: Resolved, clips: int) -> int:
    """Batches of so many clips that are made ahead; without data workers the one in use and the next."""
    views = len(resolved.views_of(phase))
    size = slot_bytes(views * phase.framework.clips_per_video * clip_bytes(phase.clip), clips)
    return size * (slots_of(size, clips, resolved.launch) if resolved.launch.workers else 2)
