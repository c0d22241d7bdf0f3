"""How the cost of a training step grows with what it is made of: four points each, and the exponent that fits them.

    python benchmarks/cost_growth.py [ROUNDS [NAME ...]]

Processor time of one thread, whole CPR steps (training/trial.py), interleaved over the four points. From a step of S3D at
width 1 on clips [4,3,16,112,112] one thing is changed at a time. What costs little beside S3D is measured on the small network
and clips [16,3,8,32,32]: bank, videos, and classes, those also in the mining table of an epoch. Cost = c * x ** exponent,
by least squares over logarithms; 1 is proportional, 0 is no growth. NAME: only these. Prints a table for README.md.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from measuring import interleaved
from phases import experiment

from cprspec.learning.ranks import keep_freed_memory
from cprspec.training.loop import make_ledger
from cprspec.training.trial import Trial, trial

SMALL_NETWORK = (
    'backbone.use="tiny"', "backbone.width=0.25", "clip.frames=8", "clip.size=32", "batch_size=16",
)  # fmt: skip

VIDEOS = 9537
"""Training videos of UCF101, each a query in the epoch whose mining table is made."""


Made = Callable[[ExitStack, float], Callable[[], object]]
"""What is measured at a point; whatever it needs to have open goes onto the stack."""


def open_trial(stack: ExitStack, *overrides: str, videos: int = 4096, classes: int = 101) -> Trial:
    """A mining phase of the experiment with `overrides`."""
    resolved = experiment("framework.queue_size=2048", *overrides)
    return stack.enter_context(trial(resolved, resolved.phase("cycle"), torch.device("cpu"), videos, classes))


def step(option: str, *overrides: str) -> Made:
    """A training step, by one of its options."""
    return lambda stack, x: open_trial(stack, *overrides, f"{option}={x}").step


def epoch_table(stack: ExitStack, classes: float) -> Callable[[], object]:
    """The mining table of an epoch of five random picks for each query."""
    training = open_trial(stack, *SMALL_NETWORK, videos=VIDEOS, classes=int(classes))
    rng = np.random.default_rng(0)
    query_M, selected_MP = rng.permutation(VIDEOS), rng.integers(VIDEOS, size=(VIDEOS, 5))

    def once() -> object:
        ledger = make_ledger(training.job, training.stepper)
        ledger.add(query_M, selected_MP)
        return ledger.finish(0)

    return once


GROWTH: dict[str, tuple[Sequence[float], Made]] = {
    "frames": ((8, 16, 32, 64), step("clip.frames")),
    "size": ((56, 80, 112, 160), step("clip.size")),
    "width": ((0.25, 0.5, 1.0, 2.0), step("backbone.width")),
    "clips": ((1, 2, 4, 8), step("batch_size")),
    "bank": ((4096, 16384, 65536, 262144), step("framework.queue_size", *SMALL_NETWORK)),
    "classes": ((10, 50, 250, 1000), lambda stack, x: open_trial(stack, *SMALL_NETWORK, classes=int(x)).step),
    "videos": ((4096, 16384, 65536, 262144), lambda stack, x: open_trial(stack, *SMALL_NETWORK, videos=int(x)).step),
    "classes, table of an epoch": ((10, 50, 250, 1000), epoch_table),
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
        with ExitStack() as stack:
            ways = {f"{x:,}": make(stack, x) for x in points}
            seconds = [statistics.median(of_point) for of_point in interleaved(ways, rounds).values()]
        milliseconds = ", ".join(f"{1e3 * s:,.0f}" if s > 0.1 else f"{1e3 * s:.1f}" for s in seconds)
        print(f"| {name} | {', '.join(ways)} | {milliseconds} | {exponent(points, seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
