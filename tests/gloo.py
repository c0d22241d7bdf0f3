"""Run a function in several processes that talk gloo, as the ranks of a training job do."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cprspec.processes import leave_untidied


def on_ranks(world, function, *arguments, timeout_s=1800):
    """What `function(rank, *arguments)` returns in each of `world` processes: tensors, or containers of them.

    No collective of the main group waits longer than `timeout_s`.
    """
    with TemporaryDirectory() as folder:
        mp.spawn(_rank, (world, folder, function, arguments, timeout_s), nprocs=world)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _rank(rank, world, folder, function, arguments, timeout_s):
    torch.set_num_threads(1)
    where, timeout = f"file://{folder}/store", timedelta(seconds=timeout_s)
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=world, timeout=timeout)
    try:
        torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
    leave_untidied(0)
