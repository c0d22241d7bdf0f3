"""S3D, forward and backward, forward alone, and frozen, against torchvision's S3D in float32 and its own memory layout.

    python benchmarks/s3d_speed.py [ROUNDS]

One thread, clips [4,3,16,112,112], interleaved; CPU time. Forward alone is in evaluation mode; frozen is the same with batch
norms folded, as encoders are asked for features (models/frozen.py), and bf16 frozen has bf16 weights. Rates are of what the
convolutions multiply and add, beside that of matrix products of the same type in the same run. bf16 is skipped, with a word,
where the processor has no instructions for it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from copy import deepcopy

import torch
from measuring import has_bf16, interleaved, matmul_gflops, say_bf16, table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import s3d

from cprspec.learning.ranks import keep_freed_memory
from cprspec.models.frozen import freeze
from cprspec.models.s3d import S3D

Network = Callable[[Tensor], Tensor]


def step(network: nn.Module, run: Network, clip: Tensor, dtype: torch.dtype | None) -> Callable[[], None]:
    """Forward and backward of `run`, a part of `network`, under autocast to `dtype`."""

    def once() -> None:
        network.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            output = run(clip)
        output.float().mean().backward()

    return once


def forward(run: Network, clip: Tensor, dtype: torch.dtype | None) -> Callable[[], None]:
    """Forward of `run` alone under autocast to `dtype`, without anything kept."""

    def once() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            run(clip)

    return once


def say_rate(name: str, seconds: list[float], network: nn.Module, clip: Tensor, dtype: torch.dtype) -> None:
    """Print what rate a forward pass reaches, and which share of matrix products' that is."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(clip)
    rate = 1e-9 * counter.get_total_flops() / statistics.median(seconds)
    print(f"{name}: {rate:.0f} GFLOP/s, {100 * rate / matmul_gflops(dtype):.0f} % of matrix products' rate")


def main() -> None:
    """Run the rounds and print the table."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    theirs, ours = s3d().train(), S3D().train()
    clip = torch.randn(4, 3, 16, 112, 112)
    ours_clip = clip.contiguous(memory_format=torch.channels_last_3d)  # as clips come from bytes
    bf16 = has_bf16()
    say_bf16()

    print("forward and backward")
    ways = {
        "torchvision": step(theirs, theirs.features, clip, None),
        "float32": step(ours, ours, ours_clip, None),
    }
    if bf16:
        ways["bf16 autocast"] = step(ours, ours, ours_clip, torch.bfloat16)
    table(interleaved(ways, rounds), "torchvision")

    print("forward alone")
    theirs.eval()
    ours.eval()
    ways = {
        "torchvision": forward(theirs.features, clip, None),
        "float32": forward(ours, ours_clip, None),
        "float32 frozen": forward(freeze(deepcopy(ours)), ours_clip, None),
    }
    if bf16:
        ways["bf16 autocast"] = forward(ours, ours_clip, torch.bfloat16)
        ways["bf16 frozen"] = forward(freeze(deepcopy(ours), "bf16"), ours_clip.bfloat16(), None)
    seconds = interleaved(ways, rounds)
    table(seconds, "torchvision")
    say_rate("float32 frozen", seconds["float32 frozen"], ours, clip, torch.float32)
    if bf16:
        say_rate("bf16 frozen", seconds["bf16 frozen"], ours, clip, torch.bfloat16)


if __name__ == "__main__":
    main()
