"""What ranks exchange in a training step: the formulas (training/exchanged.py) against what is counted on gloo.

    python benchmarks/exchange.py [STEPS [NAME ...]]

For 1, 2 and 4 ranks on this machine and a few experiments, of which each changes one thing. Three numbers of rank 0, a step:

- formula: what it hands to collectives, by the formulas
- handed: the same as torch saw it (learning/counting.py), DDP's gradients included
- sent: what the formulas say that leaves the rank, and what the kernel says that its process wrote (Linux, /proc/self/io;
  gloo writes to sockets, and a step writes hardly anything else)

NAME: only these settings; `features`: a pass of an evaluation over videos, features of 1,024 numbers. A step here lacks the
loop's 16 bytes of agreement, and has the ranks of examples, which the formulas leave out: 80 bytes for each stage of each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from phases import experiment
from torch import Tensor, nn

from cprspec.evaluation.features import Keeping, encode_videos
from cprspec.evaluation.kept import Kept
from cprspec.learning.counting import CountedCollectives
from cprspec.learning.ranks import Ranks
from cprspec.processes import leave_untidied
from cprspec.spec.schema import Launch
from cprspec.training.exchanged import step_exchanges
from cprspec.training.trial import trial
from cprspec.video.tray import Tray

RANKS = (1, 2, 4)

SMALL = ("batch_size=16", "clip.frames=8", "clip.size=32", "framework.bn_groups=4")

SETTINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "InfoNCE, batch 16, [8,32,32], bank 2,048": ("moco", "rgb", SMALL),
    "CPR": ("moco", "cycle", SMALL),
    "CPR, batch 32": ("moco", "cycle", (*SMALL, "batch_size=32")),
    "CPR, clip [16,32,32]": ("moco", "cycle", (*SMALL, "clip.frames=16")),
    "CPR, bank 8,192": ("moco", "cycle", (*SMALL, "framework.queue_size=8192")),
    "CPR, half the width": ("moco", "cycle", (*SMALL, "backbone.width=0.5")),
    "UberNCE": ("moco", "cycle", (*SMALL, 'miner.use="ubernce"')),
    "IIC + CPR": ("iic", "iic", SMALL),
}
"""Framework, phase and overrides."""


TRAINING_VIDEOS = 4096

FEATURES, VIDEOS, FEATURE = "features", 640, 1024
"""A pass over so many videos, beside the settings."""


class OneWindow:
    """Videos of one window each, of a pixel."""

    def __len__(self) -> int:
        return VIDEOS

    def item_bytes(self) -> int:
        """What an item takes."""
        return 3

    def read(self, key: int, tray: Tray) -> None:
        """A video that is its number."""
        tray.video = key
        tray.room("rgb", (1, 1, 1, 1, 3))[...] = 0


class NoNetwork:
    """An encoder of which only the size of its features matters."""

    view = "rgb"
    network = to_input = nn.Identity()

    def of_clips(self, clip_NTHWC: Tensor) -> Tensor:
        """Zeros `[N,FEATURE]`."""
        return torch.zeros(len(clip_NTHWC), FEATURE)


def features(rank: int, world: int, folder: Path) -> None:
    """What a pass over videos exchanges for one encoder, in parts as evaluation keeps them."""
    ranks = Ranks(rank=rank, world=world, device=torch.device("cpu"))
    keeping = Keeping(Kept(folder / "kept", ranks, print), "pass", {}, lambda: None)
    received = VIDEOS * (4 * FEATURE + 8)
    with CountedCollectives() as counts:
        encode_videos({"one": NoNetwork()}, OneWindow(), Launch(workers=0), ranks, keeping=keeping)
    handed = sum(each.size for each in counts.handed)
    if rank == 0:
        print(
            f"{world} ranks  {FEATURES}: of {received:,} bytes a rank's share is {received // world:,}, handed {handed:,} in "
            f"{len(counts.handed)} collectives",
            flush=True,
        )


def written() -> int:
    """Bytes that this process has written so far, to files and sockets alike."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))
    return int(line.split()[1])


def setting(rank: int, world: int, steps: int, name: str) -> None:
    """Steps of one setting, by the formulas and as they were; rank 0 prints."""
    framework, phase_name, overrides = SETTINGS[name]
    resolved = experiment(*overrides, framework=framework)
    phase = resolved.phase(phase_name)
    with trial(resolved, phase, torch.device("cpu"), TRAINING_VIDEOS) as training:
        for number in range(2):  # in the second DDP orders its gradients
            training.step(number)
        counts = CountedCollectives()
        before = written()
        with counts:
            for number in range(steps):
                training.step(number)
        sent = (written() - before) / steps
        parameters = sum(p.numel() for p in training.stepper.encoder.parameters())
    exchanges = step_exchanges(resolved, phase, world, parameters, TRAINING_VIDEOS) or ()
    formula, leaves = sum(e.handed for e in exchanges), sum(e.sent(world) for e in exchanges)
    handed = sum(each.size for each in counts.handed) / steps
    if rank > 0:
        return
    figures = (
        f"formula {formula:12,d}  handed {handed:14,.0f}  calls {len(counts.handed) / steps:5.1f}  sent by formula "
        f"{leaves:14,.0f}  by the kernel {sent:14,.0f}"
    )
    print(f"{world} ranks  {name:42}  {figures if world > 1 else f'handed {handed:,.0f}, written {sent:,.0f}'}")
    if world == max(RANKS):
        print("         " + ", ".join(f"{e.what} {e.handed:,}" for e in exchanges), flush=True)


def measure(rank: int, world: int, folder: str, steps: int, names: Sequence[str]) -> None:
    """Settings on this rank; rank 0 prints."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    if FEATURES in names:
        features(rank, world, Path(folder))
    settings = [name for name in names if name != FEATURES]
    for name in settings if world > 1 else settings[:1]:  # one rank sends nothing
        setting(rank, world, steps, name)
        if world > 1:
            dist.barrier()
    if world > 1:
        dist.destroy_process_group()
    leave_untidied(0)


def main() -> None:
    """Measure one number of ranks after the other."""
    steps = int(sys.argv[1]) if sys.argv[1:] else 4
    for world in RANKS:
        with TemporaryDirectory() as folder:
            mp.spawn(measure, (world, folder, steps, sys.argv[2:] or [FEATURES, *SETTINGS]), nprocs=world)


if __name__ == "__main__":
    main()
