"""What ranks exchange in a training step: the formulas (training/exchanged.py) against what is counted on gloo.

    python benchmarks/exchange.py [STEPS]

For 1, 2 and 4 ranks on this machine and a few experiments, of which each changes one thing. Three numbers of rank 0, a step:

- formula: what it hands to collectives, by the formulas
- handed: the same as torch saw it (learning/counting.py), DDP's gradients included
- sent: what the formulas say that leaves the rank, and what the kernel says that its process wrote (Linux, /proc/self/io;
  gloo writes to sockets, and steps write nothing else)
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from stepping import Steps, experiment

from cprspec.learning.counting import CountedCollectives
from cprspec.training.exchanged import step_exchanges

RANKS = (1, 2, 4)

SMALL = ("batch_size=16", "clip.frames=8", "clip.size=64", "framework.bn_groups=4")

SETTINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "InfoNCE, batch 16, [8,64,64], bank 2,048": ("moco", "rgb", SMALL),
    "CPR": ("moco", "cycle", SMALL),
    "CPR, batch 32": ("moco", "cycle", (*SMALL, "batch_size=32")),
    "CPR, clip [16,64,64]": ("moco", "cycle", (*SMALL, "clip.frames=16")),
    "CPR, bank 8,192": ("moco", "cycle", (*SMALL, "framework.queue_size=8192")),
    "CPR, half the width": ("moco", "cycle", (*SMALL, "backbone.width=0.5")),
    "UberNCE": ("moco", "cycle", (*SMALL, 'miner.use="ubernce"')),
    "IIC + CPR": ("iic", "iic", SMALL),
}
"""Framework, phase and overrides."""


def written() -> int:
    """Bytes that this process has written so far, to files and sockets alike."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))
    return int(line.split()[1])


def measure(rank: int, world: int, folder: str, steps: int) -> None:
    """All settings on this rank; rank 0 prints."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    for name, (framework, phase_name, overrides) in [*SETTINGS.items()][
        : None if world > 1 else 2
    ]:  # one rank sends nothing
        resolved = experiment(*overrides, framework=framework)
        phase = resolved.phase(phase_name)
        training = Steps(resolved, phase_name, Path(folder))
        for _ in range(2):  # in the second DDP orders its gradients
            training.step()
        counts = CountedCollectives()
        before = written()
        with counts:
            for _ in range(steps):
                training.step()
        sent = (written() - before) / steps
        parameters = sum(p.numel() for p in training.stepper.encoder.parameters())
        exchanges = step_exchanges(resolved, phase, world, parameters, len(training.job.index.videos)) or ()
        formula, leaves = sum(e.handed for e in exchanges), sum(e.sent(world) for e in exchanges)
        handed = sum(each.size for each in counts.handed) / steps
        if rank == 0:
            figures = (
                f"formula {formula:12,d}  handed {handed:14,.0f}  calls {len(counts.handed) / steps:5.1f}  sent by formula "
                f"{leaves:14,.0f}  by the kernel {sent:14,.0f}"
            )
            print(f"{world} ranks  {name:42}  {figures if world > 1 else f'handed {handed:,.0f}, written {sent:,.0f}'}")
            if world == max(RANKS):
                print("         " + ", ".join(f"{e.what} {e.handed:,}" for e in exchanges), flush=True)
        if world > 1:
            dist.barrier()
    if world > 1:
        dist.destroy_process_group()


def main() -> None:
    """Measure one number of ranks after the other."""
    steps = int(sys.argv[1]) if sys.argv[1:] else 4
    for world in RANKS:
        with TemporaryDirectory() as folder:
            mp.spawn(measure, (world, folder, steps), nprocs=world)


if __name__ == "__main__":
    main()
