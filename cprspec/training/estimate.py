"""What an experiment will cost, before it runs: parameters, memory and steps of each phase, without any weights.

Networks are built on the meta device, where tensors have shapes and no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cprspec.models.encoders import build_encoder
from cprspec.spec.schema import Phase, Resolved, WeightsFile
from cprspec.training.exchanged import step_exchanges

OPTIMIZER_STATES = {"adam": 2, "sgd": 1}
"""Tensors that an optimiser keeps for each weight."""

_GIB = 2**30


def plan_record(resolved: Resolved, data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The plan as JSON: phases in order, and `data`, the facts of each data set that was read (see spec/presence.py)."""
    trained_on = next((facts for facts in data if facts["name"] == resolved.train_on), None)
    videos = trained_on["train_videos"] if trained_on else None
    return {"phases": [_phase_record(resolved, phase, videos) for phase in resolved.phases], "data": list(data)}


def _phase_record(resolved: Resolved, phase: Phase, videos: int | None) -> dict[str, Any]:
    with torch.device("meta"):
        encoder = build_encoder(phase)
    parameters = sum(p.numel() for p in encoder.parameters())
    queue = getattr(phase.framework, "queue_size", None)
    start = phase.start_from
    card = resolved.cards.get(f"phase.{phase.name}.miner")
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
        "memory_gib": memory_bytes(phase, encoder) / _GIB,
        "clips_per_epoch": None if videos is None else videos // phase.batch_size * phase.batch_size,
        "queue_fill_steps": -(-queue // phase.batch_size) if queue else None,
        "exchange": _exchange_record(resolved, phase, parameters, videos),
    }


def _exchange_record(resolved: Resolved, phase: Phase, parameters: int, videos: int | None) -> dict[str, Any] | None:
    """What each rank hands over in a step, by what it is, for as many ranks as there are groups; at least two."""
    ranks = max(2, phase.framework.bn_groups)
    exchanges = step_exchanges(resolved, phase, ranks, parameters, videos)
    if exchanges is None:
        return None
    handed = {exchange.what: exchange.handed for exchange in exchanges}
    return {"ranks": ranks, "bytes_per_step": sum(handed.values()), "of_which": handed}


def memory_bytes(phase: Phase, encoder: nn.Module) -> int:
    """A rough upper bound of one process's memory in training, for an encoder on the meta device.

    Weights, gradients and optimiser states of the trained encoder, the framework's other copies of it (MoCo's key encoder),
    a sampler where one mines, what back-propagation keeps for every view, and the queue. The clips are
    float32. Banks of a row for each video (IIC) are left out: how many videos there are is not known here.
    """
    weights: int = 4 * sum(t.numel() for t in encoder.state_dict().values())
    copies = (
        1 + phase.framework.networks + OPTIMIZER_STATES.get(phase.optimizer.name, 2) + (1 if phase.mine_with else 0)
    )
    micro_batch = phase.batch_size // phase.accumulate
    value_bytes = 2 if phase.precision == "bf16" else 4
    clip = phase.clip
    inputs = 4 * 3 * clip.frames * clip.size**2 * micro_batch * (3 if phase.mine_with else 2)
    outputs = kept_values(encoder, phase) * value_bytes * micro_batch * len(phase.views)
    return weights * copies + outputs + inputs + bank_bytes(phase)


def bank_bytes(phase: Phase) -> int:
    """The queue, with the mining view's embeddings beside it where one mines."""
    bank: int = 4 * getattr(phase.framework, "queue_size", 0) * phase.framework.head
    return bank * (2 if phase.mine_with else 1)


def kept_values(encoder: nn.Module, phase: Phase) -> int:
    """Numbers that back-propagation keeps of the forward pass of one clip, beside the weights and the clip itself."""
    clip = phase.clip
    pair = torch.empty(2, 3, clip.frames, clip.size, clip.size, device="meta")  # batch norm needs two
    known = {_storage(t) for t in (*encoder.parameters(), *encoder.buffers(), pair)}
    kept: dict[int, torch.Tensor] = {}  # by storage: views of one tensor are kept once

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in known:
            kept[_storage(tensor)] = tensor  # held, so that no other storage takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encoder.train()(pair)
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values()) // 2


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
