"""Two ranks against one, a thread each, in real training steps: samples a second, and where the difference goes.

    python benchmarks/two_ranks.py [ROUNDS]

Weak scaling: S3D, clips [4,3,16,112,112] on every rank, a CPR step with a queue of 2,048 (training/trial.py); so two ranks
take twice the samples in a step. One rank alone and two that talk gloo take turns, a few steps at a time, and wait asleep.
Wall time, since waiting for each other counts: it wants a machine with two cores that does nothing else. Processor time
beside it says what a rank does more than one alone does (exchange, gloo's threads, caches and memory that are shared).
"""

from __future__ import annotations

import statistics
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from measuring import cpu_seconds
from phases import experiment

from cprspec.learning.ranks import keep_freed_memory
from cprspec.training.trial import trial

STEPS = 3
"""Steps in a turn."""

CLIPS = 4
"""Clips of a rank in a step."""

VIDEOS = 9537
"""Training videos of UCF101."""

Spent = tuple[float, float]
"""Wall and processor seconds."""


def rank_of(world: int, rank: int, folder: str, turns: Connection) -> None:
    """Steps of one rank whenever `turns` says so; answers with what they took."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    resolved = experiment(f"batch_size={CLIPS * world}", f"framework.bn_groups={world}", "framework.queue_size=2048")
    with trial(resolved, resolved.phase("cycle"), torch.device("cpu"), VIDEOS) as training:
        while turns.recv():
            began, cpu = time.monotonic(), cpu_seconds()
            for number in range(STEPS):
                training.step(number)
            turns.send((time.monotonic() - began, cpu_seconds() - cpu))
    if world > 1:
        dist.destroy_process_group()


def turn(ranks: list[Connection]) -> Spent:
    """A turn of some ranks together: the wall time of the last to be ready, and the processor time of each on average."""
    for end in ranks:
        end.send(True)
    spent: list[Spent] = [end.recv() for end in ranks]
    return max(wall for wall, _ in spent), statistics.mean(cpu for _, cpu in spent)


def main() -> None:
    """Run the rounds and print samples a second and the ratio."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 7
    context = get_context("spawn")
    walls: dict[int, list[float]] = {1: [], 2: []}
    cpus: dict[int, list[float]] = {1: [], 2: []}
    with TemporaryDirectory() as folder:
        groups: dict[int, list[Connection]] = {}
        for world in walls:
            groups[world] = []
            for rank in range(world):
                ours, theirs = context.Pipe()
                context.Process(target=rank_of, args=(world, rank, folder, theirs), daemon=True).start()
                groups[world].append(ours)
        for number in range(rounds + 1):
            for world, ranks in groups.items():
                wall, cpu = turn(ranks)
                if number:  # the first warms up
                    walls[world].append(wall)
                    cpus[world].append(cpu)
        for end in (*groups[1], *groups[2]):
            end.send(False)
    for world, of_world in walls.items():
        samples = world * CLIPS * STEPS
        a_second = [samples / wall for wall in of_world]
        print(
            f"{world} x 1 thread: {statistics.median(a_second):6.2f} samples a second (lowest {min(a_second):.2f}, highest "
            f"{max(a_second):.2f}); a step {1e3 * statistics.median(of_world) / STEPS:.0f} ms, of which a rank's processor "
            f"time {1e3 * statistics.median(cpus[world]) / STEPS:.0f} ms"
        )
    for what, seconds in (("wall", walls), ("processor time", cpus)):
        ratios = [2 * one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
        print(
            f"two ranks against one by {what}: {statistics.median(ratios):.2f}x (lowest {min(ratios):.2f}, highest "
            f"{max(ratios):.2f}, {rounds} rounds)"
        )


if __name__ == "__main__":
    main()
