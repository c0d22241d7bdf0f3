"""What an optimiser keeps of each parameter, as named tensors and back, so that training goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`optimizer.PARAMETER|SLOT` for every slot of every parameter of `model` that has been stepped."""
    return {
        f"optimizer.{name}|{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` what `optimizer_tensors` took; other names in `tensors` are passed over."""
    # Everything is where the parameter is, but the step count of an optimiser that is not fused: that is on the CPU.
    fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}|"
        slots = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if slots:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) if fused or value.ndim else value for key, value in slots.items()
            }
