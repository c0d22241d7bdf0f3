"""What keeping freed memory (learning/ranks.keep_freed_memory) saves in a training step on the CPU.

    python benchmarks/freed_memory.py [ROUNDS]

Runs the step of the small network with and without it in processes of their own, interleaved, one thread, and prints the
median CPU seconds of each and their ratio, with the lowest and highest ratio of a pair.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

STEPS = 25


def cpu_seconds() -> float:
    """User and system time of this process, seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def steps(keep: bool) -> float:
    """CPU seconds of `STEPS` query and key passes over 16 clips of 8 frames of 48 pixels."""
    import torch

    from cprspec.learning.ranks import keep_freed_memory
    from cprspec.models.heads import Encoder
    from cprspec.models.tiny import Tiny

    torch.set_num_threads(1)
    if keep:
        keep_freed_memory()
    network = Tiny()
    encoder = Encoder(network, network.feature_size, 128)
    clips = torch.randn(16, 3, 8, 48, 48)
    for warm_up in (True, False):
        began = cpu_seconds()
        for _ in range(3 if warm_up else STEPS):
            encoder(clips).square().mean().backward()
            with torch.no_grad():
                encoder(clips)
    return cpu_seconds() - began


def main() -> None:
    """Run the pairs and print the figures."""
    if sys.argv[1:2] == ["--one"]:
        print(steps(sys.argv[2] == "keep"))
        return
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    found: dict[str, list[float]] = {"return": [], "keep": []}
    for _ in range(rounds):
        for kind, values in found.items():
            command = [sys.executable, __file__, "--one", kind]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    ratios = [a / b for a, b in zip(found["return"], found["keep"], strict=True)]
    for kind, values in found.items():
        print(f"{kind:7} {statistics.median(values):.2f} s CPU for {STEPS} steps")
    print(
        f"ratio   {statistics.median(ratios):.2f} (lowest {min(ratios):.2f}, highest {max(ratios):.2f}, {rounds} pairs)"
    )


if __name__ == "__main__":
    main()
