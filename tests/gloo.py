"""Run a function in several processes that talk gloo, as the ranks of a training job do."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cprspec.processes import leave_untidied


def on_ranks(world, function, *arguments):
    """What `function(rank, *arguments)` returns in each of `world` processes: tensors, or containers of them."""
    with TemporaryDirectory() as folder:
        mp.spawn(_rank, (world, folder, function, arguments), nprocs=world)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _rank(rank, world, folder, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    try:
        torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
    leave_untidied(0)
