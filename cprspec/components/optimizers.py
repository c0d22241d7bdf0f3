"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from cprspec.spec.kinds import Optimizer, Schedule, option

if TYPE_CHECKING:
    import torch

    Parameters = Iterable[torch.Tensor] | Iterable[dict[str, Any]]
    """Parameters, or groups of them in torch's own form."""


@frozen(kw_only=True)
class Adam(Optimizer):
    """Adam with weight decay as an L2 term, as the published systems use it."""

    name: ClassVar[str] = "adam"
    lr: float = option(1e-3, help="learning rate", gt=0)
    weight_decay: float = option(1e-5, help="L2 term", ge=0)

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""
        import torch

        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)


@frozen(kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    name: ClassVar[str] = "sgd"
    lr: float = option(0.01, help="learning rate", gt=0)
    momentum: float = option(0.9, help="share of the last step that is kept", ge=0, lt=1)
    weight_decay: float = option(1e-4, help="L2 term", ge=0)

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@frozen(kw_only=True)
class Step(Schedule):
    """The learning rate falls by `gamma` at each milestone; none keeps it constant."""

    name: ClassVar[str] = "step"
    milestones: tuple[int, ...] = option((), help="epochs at which it falls")
    gamma: float = option(0.1, help="factor at each milestone", gt=0, le=1)

    def factor(self, epoch: int, epochs: int) -> float:
        """`gamma` to the number of milestones that `epoch` has reached."""
        return float(self.gamma ** sum(epoch >= m for m in self.milestones))


@frozen(kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `floor` over the phase, after `warmup` epochs of linear rise."""

    name: ClassVar[str] = "cosine"
    warmup: int = option(0, help="epochs of linear rise", ge=0)
    floor: float = option(0.0, help="factor at the end", ge=0, le=1)

    def factor(self, epoch: int, epochs: int) -> float:
        """The factor in `epoch` of `epochs`."""
        if epoch < self.warmup:
            return (epoch + 1) / (self.warmup + 1)
        done = (epoch - self.warmup) / max(1, epochs - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))


COMPONENTS = (Adam, SGD, Step, Cosine)
