"""One module trained by several ranks: gradients are averaged, and what is not learned is rank 0's."""

from __future__ import annotations

import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cprspec.learning.ranks import Ranks


def share_gradients(model: nn.Module) -> nn.Module:
    """The model whose gradients are averaged over ranks. Batch-norm statistics are not exchanged: rank 0's are the ones.

    Gradients stay where they were averaged instead of being copied back.
    """
    # Strides of 1x1x1 convolutions differ in dimensions of size 1 alone, which costs nothing; said in the first backward pass.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        # torch 2.14 deprecates this name, and what shall replace it exchanges statistics once, at the start.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


@torch.no_grad()
def take_from_first(model: nn.Module, ranks: Ranks) -> None:
    """Give every rank the parameters and statistics of rank 0; every rank must come here."""
    if ranks.world == 1:
        return
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)
