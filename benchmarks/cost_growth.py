"""How the cost of a training step grows with what it is made of: four points each, and the exponent that fits them.

    python benchmarks/cost_growth.py [ROUNDS [NAME ...]]

Processor time of one thread, whole CPR steps (benchmarks/stepping.py), interleaved over the four points. From a step of S3D at
width 1 on clips [4,3,16,112,112] one thing is changed at a time. What costs little beside S3D is measured on the small network
and clips [16,3,8,32,32]: bank, videos, and classes, those also in the mining table of an epoch. Cost = c * x ** exponent,
by least squares over logarithms; 1 is proportional, 0 is no growth. NAME: only these. Prints a table for README.md.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measuring import interleaved
from stepping import Steps, experiment

from cprspec.learning.ranks import keep_freed_memory

SMALL_NETWORK = (
    'backbone.use="tiny"', "backbone.width=0.25", "clip.frames=8", "clip.size=32", "batch_size=16",
)  # fmt: skip

QUERIES = 9537
"""Of an epoch whose mining table is made: as many as UCF101 has training videos."""


def step(*overrides: str, videos: int = 4096, classes: int = 101) -> Callable[[], None]:
    """A training step of the experiment with `overrides`."""
    resolved = experiment("framework.queue_size=2048", *overrides)
    return Steps(resolved, "cycle", Path(FOLDER.name), videos, classes).step


def epoch_table(classes: int) -> Callable[[], object]:
    """The mining table of an epoch of five random picks for each query."""
    steps = Steps(experiment(*SMALL_NETWORK), "cycle", Path(FOLDER.name), QUERIES // 4 * 4, classes)
    videos = len(steps.job.index.videos)
    rng = np.random.default_rng(0)
    query_M, selected_MP = rng.permutation(videos), rng.integers(videos, size=(videos, 5))

    def once() -> object:
        steps.ledger.add(query_M, selected_MP)
        return steps.ledger.finish(0)

    return once


FOLDER = TemporaryDirectory()

GROWTH: dict[str, tuple[Sequence[float], Callable[[float], Callable[[], object]]]] = {
    "frames": ((8, 16, 32, 64), lambda x: step(f"clip.frames={x}")),
    "size": ((56, 80, 112, 160), lambda x: step(f"clip.size={x}")),
    "width": ((0.25, 0.5, 1.0, 2.0), lambda x: step(f"backbone.width={x}")),
    "clips": ((1, 2, 4, 8), lambda x: step(f"batch_size={x}")),
    "bank": ((4096, 16384, 65536, 262144), lambda x: step(*SMALL_NETWORK, f"framework.queue_size={x}")),
    "classes": ((10, 50, 250, 1000), lambda x: step(*SMALL_NETWORK, classes=int(x))),
    "videos": ((4096, 16384, 65536, 262144), lambda x: step(*SMALL_NETWORK, videos=int(x))),
    "classes, table of an epoch": ((10, 50, 250, 1000), lambda x: epoch_table(int(x))),
}
"""Points, and what is measured at each."""


def exponent(points: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of the line that fits the logarithms best."""
    return float(np.polyfit(np.log(points), np.log(seconds), 1)[0])


def main() -> None:
    """Measure and print one row after the other."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    wanted = sys.argv[2:] or [*GROWTH]
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| what grows | at | milliseconds | exponent |\n|---|---|---|---|")
    for name in wanted:
        points, make = GROWTH[name]
        ways = {f"{x:,}": make(x) for x in points}
        seconds = [statistics.median(of_point) for of_point in interleaved(ways, rounds).values()]
        milliseconds = ", ".join(f"{1e3 * s:,.0f}" if s > 0.1 else f"{1e3 * s:.1f}" for s in seconds)
        print(f"| {name} | {', '.join(ways)} | {milliseconds} | {exponent(points, seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
