"""What `cprspec bench step` measures: where the time of a training step goes, and how near it is to what the machine can do.

The step is the phase's own (training/trial.py) in one process. Operations are those that torch counts (matrix products and
convolutions, a multiplication and an addition as two), and the machine's rate is that of square matrix products, measured in
the same run on the same device and threads.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch.utils.flop_counter import FlopCounterMode

from cprspec.learning.ranks import cores, keep_freed_memory, pick_device, share_threads
from cprspec.learning.rates import product_rate
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.laps import CLIPS, LEDGER, MINING, MOMENTUM, NETWORKS, OPTIMIZER, PARTS, Laps, TimedStepper
from cprspec.training.trial import Trial, trial
from cprspec.video.clips import clip_shape

Progress = Callable[[int, int], None]

MOST, SOME = 0.75, 0.1
"""Shares of a step from which networks are what limits it, and from which something else is worth a word."""

FASTER = 1.2
"""How many times faster products in another precision must be to be worth it."""

VIDEOS = 9537
"""Training videos where nobody says how many: those of UCF101, split 1."""


def measure(
    resolved: Resolved, phase: Phase, videos: int, seconds: float, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything as JSON (kind `step-bench`), of optimiser steps of `phase` for about `seconds`, three at least."""
    device = pick_device(resolved.launch.device, 0)
    keep_freed_memory()
    threads = share_threads(resolved.launch.threads, resolved.launch.workers, 1)
    with trial(resolved, phase, device, videos) as steps:
        steps.step()  # the first one is slower
        operations = counted_operations(steps)
        parts, step_s = timed_parts(steps, seconds, progress)
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    found = {
        "schema": 1, "kind": "step-bench", "experiment": resolved.name, "phase": phase.name,
        "framework": phase.framework.name, "miner": phase.miner.name if phase.miner else None,
        "device": str(device), "threads": threads, "cores": cores(), "precision": phase.precision,
        "clip": [*clip_shape(phase.clip)], "batch_size": phase.batch_size, "accumulate": phase.accumulate,
        "step_s": step_s, "samples_per_s": phase.batch_size / step_s,
        "parts_s": {part: parts[part] for part in PARTS if part in parts},
        "gflop": {part: operations[part] / 1e9 for part in PARTS if operations.get(part)},
        "products_gflop_per_s": {name: product_rate(device, dtype) for name, dtype in dtypes.items()},
    }  # fmt: skip
    found["share_of_products"] = share_of_products(found)
    found["verdict"] = verdict(found)
    return found


def with_laps(steps: Trial, laps: Laps) -> tuple[Trial, TimedStepper]:
    """The same trial with its parts counted."""
    stepper = TimedStepper(steps.stepper, steps.optimizer, steps.miner, laps)
    return attrs.evolve(steps, stepper=stepper), stepper


def counted_operations(steps: Trial) -> dict[str, float]:
    """Operations of one step by part."""
    with FlopCounterMode(display=False, custom_mapping=NOT_COUNTED) as counter:
        laps = Laps(steps.job.ranks.device, counter.get_total_flops)
        counted, stepper = with_laps(steps, laps)
        counted.step()
        stepper.removed()
    return laps.taken()


def _baddbmm(_: Sequence[int], a: Sequence[int], b: Sequence[int], *__: object, **___: object) -> int:
    """Operations of torch.baddbmm_ (models/separable.py), by the shapes of its factors; torch counts it only out of place."""
    return 2 * math.prod(a) * b[2]


def _onednn_linear(a: Sequence[int], b: Sequence[int], *_: object, **__: object) -> int:
    """Operations of oneDNN's products of float32 rows (learning/similarity.py)."""
    return 2 * math.prod(a) * b[0]


NOT_COUNTED = {torch.ops.aten.baddbmm_: _baddbmm, torch.ops.aten.mkldnn_linear: _onednn_linear}
"""Products that torch's counter does not know."""


def timed_parts(steps: Trial, seconds: float, progress: Progress | None) -> tuple[dict[str, float], float]:
    """Seconds of each part of a step, and of a whole one: medians over as many steps as there is time for."""
    laps = Laps(steps.job.ranks.device)
    timed, stepper = with_laps(steps, laps)
    of_steps: list[dict[str, float]] = []
    began = time.perf_counter()
    while len(of_steps) < 3 or time.perf_counter() - began < seconds:
        laps.go_on(PARTS[-1])
        laps.taken()
        timed.step(len(of_steps))
        of_steps.append(laps.taken())
        if progress:
            passed = time.perf_counter() - began
            progress(len(of_steps), max(3, len(of_steps), round(len(of_steps) * seconds / passed)))
    stepper.removed()
    parts = {part: statistics.median(of_step.get(part, 0.0) for of_step in of_steps) for part in of_steps[0]}
    return parts, statistics.median(sum(of_step.values()) for of_step in of_steps)


def share_of_products(found: dict[str, Any]) -> float:
    """How near the networks are to the rate of matrix products in the phase's precision; 1 is what the machine can do."""
    in_networks_s = sum(found["parts_s"].get(part, 0.0) for part in NETWORKS)
    operations = 1e9 * sum(found["gflop"].get(part, 0.0) for part in NETWORKS)
    return float(operations / in_networks_s / (1e9 * found["products_gflop_per_s"][found["precision"]]))


def verdict(found: dict[str, Any]) -> str:
    """What limits the step, and which setting changes it."""
    of_part = {part: seconds / found["step_s"] for part, seconds in found["parts_s"].items()}
    networks = sum(of_part.get(part, 0.0) for part in NETWORKS)
    said = [
        f"the networks take {networks:.0%} of the step, at {found['share_of_products']:.0%} of this machine's rate of matrix "
        f"products in {found['precision']}"
    ]
    if of_part.get(MINING, 0.0) > SOME:
        said.append(f"mining takes {of_part[MINING]:.0%}: fewer miner.stages, or a smaller bank (cprspec bench mine)")
    if (both := of_part.get(MOMENTUM, 0.0) + of_part.get(OPTIMIZER, 0.0)) > SOME:
        said.append(f"momentum and optimizer take {both:.0%} for so few clips: raise batch_size")
    if of_part.get(CLIPS, 0.0) > SOME:
        said.append(
            f"making floats of the clips takes {of_part[CLIPS]:.0%}: clips are large for the backbone (clip.size, clip.frames)"
        )
    if of_part.get(LEDGER, 0.0) > SOME:
        said.append(f"the ledger takes {of_part[LEDGER]:.0%}: launch.replay = false leaves the recording out")
    if networks > MOST:
        said.append(_network_advice(found))
    return "; ".join(said)


def _network_advice(found: dict[str, Any]) -> str:
    rates, precision = found["products_gflop_per_s"], found["precision"]
    other = "float32" if precision == "bf16" else "bf16"
    if rates[other] > FASTER * rates[precision]:
        return (
            f"products are {rates[other] / rates[precision]:.1f} times as fast here in {other}: precision = '{other}'"
        )
    if found["device"] == "cpu" and found["threads"] < found["cores"]:
        return f"{found['threads']} of {found['cores']} cores compute: raise launch.threads, or lower launch.workers"
    return "smaller clips (clip.size, clip.frames), a smaller backbone or another device make it faster; other settings do not"


def where(found: dict[str, Any]) -> str:
    """On which device it was measured, and with how many threads."""
    threads = found["threads"]
    return f"on {found['device']}" + (f", {threads} thread{'s'[: threads != 1]}" if found["device"] == "cpu" else "")


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    frames, size = found["clip"][0], found["clip"][1]
    head = (
        f"phase {found['phase']} of {found['experiment']}: {found['batch_size']} clips of {frames} frames, {size} pixels, "
        f"{found['precision']} {where(found)}"
    )
    rows = [head, f"  {'part':16} {'ms':>9} {'share':>6} {'GFLOP':>8} {'GFLOP/s':>8}"]
    for part, seconds in found["parts_s"].items():
        gflop = found["gflop"].get(part)
        work = f" {gflop:8.1f} {gflop / seconds:8.0f}" if gflop and seconds else ""
        rows.append(f"  {part:16} {1e3 * seconds:9.1f} {seconds / found['step_s']:6.1%}{work}")
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in found["products_gflop_per_s"].items())
    rows.append(f"  {'whole step':16} {1e3 * found['step_s']:9.1f}        {found['samples_per_s']:.2f} samples/s")
    return [*rows, f"matrix products here, GFLOP/s: {rates}", found["verdict"]]
