"""Batch norm in groups: one process normalises a batch as several GPUs with a part each would.

Shapes: N clips, in equal contiguous groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cprspec.errors import CprspecError, Problem


def in_groups(network: nn.Module, clip_N: Tensor, groups: int) -> Tensor:
    """`network(clip_N)` computed group by group; running statistics follow the first group, as DDP's follow rank 0."""
    if groups == 1:
        output: Tensor = network(clip_N)
        return output
    if len(clip_N) % groups:
        message = f"a batch of {len(clip_N)} clips cannot be normalised in {groups} equal groups"
        raise CprspecError(Problem(message, hint="make bn_groups a divisor of the batch size"))
    first, *others = clip_N.chunk(groups)
    outputs = [network(first)]
    with _statistics_held(network):
        outputs += [network(group) for group in others]
    return torch.cat(outputs)


@contextmanager
def _statistics_held(network: nn.Module) -> Iterator[None]:
    # In training mode a batch norm that does not track uses the batch's own statistics and records nothing.
    tracking = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
