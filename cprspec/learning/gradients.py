"""One module trained by several ranks: gradients are averaged, and what is not learned is rank 0's."""

from __future__ import annotations

import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cprspec.learning.ranks import Ranks


def share_gradients(model: nn.Module) -> nn.Module:
    """The model whose gradients are averaged over ranks. Batch-norm statistics are not exchanged: rank 0's are the ones."""
    with warnings.catch_warnings():
        # torch 2.14 deprecates this name, and what shall replace it exchanges statistics once, at the start.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


@torch.no_grad()
def take_from_first(model: nn.Module, ranks: Ranks) -> None:
    """Give every rank the parameters and statistics of rank 0; every rank must come here."""
    if ranks.world == 1:
        return
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)
