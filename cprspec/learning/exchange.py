"""Rows that travel between ranks: gathering, and the shuffle that batch norm needs in momentum contrast.

In one process nothing travels and the results are the same. No gradient flows through any of this.

Shapes: N rows of this rank, M = N * world rows of all ranks, rank 0's first.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from cprspec.learning.waits import waiting

# torch 2.14 renamed it, and warns of the old name.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def world_size() -> int:
    """The number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@waiting()
@torch.no_grad()
def gather_cat(x_N: Tensor) -> Tensor:
    """The rows of all ranks one after the other, `[N,...] -> [M,...]`; every rank brings the same shape."""
    world = world_size()
    if world == 1:
        return x_N.detach()
    # Gloo does not carry bool.
    sent = x_N.detach().contiguous().view(torch.uint8) if x_N.dtype == torch.bool else x_N.detach().contiguous()
    received = sent.new_empty((world * len(sent), *sent.shape[1:]))
    _all_gather(received, sent)
    return received.view(torch.bool) if x_N.dtype == torch.bool else received


@waiting()
@torch.no_grad()
def take(x_N: Tensor, order_M: Tensor) -> Tensor:
    """This rank's share of `all[order_M]`, where `all` is every rank's rows, `[N,...] -> [N,...]`.

    `order_M` is a permutation of the M rows, on the CPU and the same on every rank, so that nothing here waits for a GPU. Only
    rows that a rank needs are sent to it, in the type they have: shuffling uint8 clips costs one byte for each value.
    """
    world, n = world_size(), len(x_N)
    if len(order_M) != n * world:
        raise ValueError(f"an order of {len(order_M)} rows for {world} x {n}")
    if world == 1:
        return x_N.detach()[_to(x_N, order_M)]
    me = rank()
    order_WN = order_M.view(world, n)
    owner_WN = order_WN // n
    # To each rank go my rows among those it asks for, in the order it asks.
    sent = x_N.detach()[_to(x_N, order_WN[owner_WN == me] % n)].contiguous()
    to_each = (owner_WN == me).sum(1).tolist()
    from_each = torch.bincount(owner_WN[me], minlength=world).tolist()
    arrived = torch.empty_like(x_N)
    dist.all_to_all_single(arrived, sent, from_each, to_each)
    # What arrived is grouped by sender; a stable sort by sender says where each row belongs.
    result = torch.empty_like(x_N)
    result[_to(x_N, owner_WN[me].argsort(stable=True))] = arrived
    return result


def _to(x: Tensor, index: Tensor) -> Tensor:
    """The index where `x` is; a GPU gets it without being waited for."""
    return index.pin_memory().to(x.device, non_blocking=True) if x.device.type == "cuda" else index


def inverse(order_M: Tensor) -> Tensor:
    """The permutation that undoes `order_M`: `take(take(x, order), inverse(order))` is `x`."""
    return order_M.argsort()
