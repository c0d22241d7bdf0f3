"""What `cprspec bench mine` measures: how long mining for one batch takes, by the size of the bank and the number of stages.

Embeddings are random unit vectors of the phase's own size, as many queries as a micro-batch has clips, one row in a hundred not
eligible; IIC mines for both views. Banks take turns, so that none is in the processor's cache, as after the networks of a step.
Where steps are measured too (training/trial.py), mining is told as a share of one.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import torch
from torch.nn.functional import normalize

from cprspec.components.frameworks import MoCo
from cprspec.errors import CprspecError, Problem
from cprspec.learning.ranks import keep_freed_memory, pick_device, share_threads
from cprspec.learning.rates import median_seconds
from cprspec.spec.kinds import Miner
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.step_bench import Progress, timed_parts, where
from cprspec.training.trial import trial

STAGES = (1, 3, 5, 7)
"""Stages that are tried beside the phase's own."""

LARGER = (1, 4, 16)
"""Banks that are tried, as multiples of the phase's own."""

COLD = 64 << 20
"""Bytes of banks that take turns: more than a processor's cache holds."""

NOTICED = 0.05
"""The share of a step from which mining is worth a thought."""


def measure(
    resolved: Resolved, phase: Phase, videos: int, seconds: float, *, model: bool, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything as JSON (kind `mine-bench`); CprspecError for a phase that does not mine."""
    if phase.miner is None:
        mining = [p.name for p in resolved.phases if p.miner is not None]
        hint = f"these do: {', '.join(mining)}" if mining else "no phase of this experiment does"
        raise CprspecError(Problem(f"phase '{phase.name}' mines nothing", hint=hint))
    device = pick_device(resolved.launch.device, 0)
    keep_freed_memory()
    threads = share_threads(resolved.launch.threads, resolved.launch.workers, 1)
    step_s = None
    if model:
        with trial(resolved, phase, device, videos) as steps:
            steps.step()  # the first one is slower
            step_s = timed_parts(steps, seconds, None)[1] / phase.accumulate
    miner = phase.miner.at(phase.epochs - 1)
    own = phase.framework.queue_size if isinstance(phase.framework, MoCo) else videos
    dtype = torch.bfloat16 if getattr(phase.framework, "bank_precision", None) == "bf16" else torch.float32
    queries = phase.batch_size // phase.accumulate
    embedding = phase.framework.head or phase.backbone.feature_size
    cases = [(own * times, one) for times in LARGER for one in _miners(miner)]
    rows = []
    for number, (bank, one) in enumerate(cases, 1):
        once = _seconds(one, (queries, bank, embedding), dtype, device, seconds / len(cases))
        took = phase.framework.views_per_phase * once
        share = None if step_s is None else took / step_s
        rows.append(
            {
                "bank": bank, "stages": getattr(one, "stages", None), "own": bank == own and one == miner,
                "mining_s": took, "share_of_step": share,
            }
        )  # fmt: skip
        if progress:
            progress(number, len(cases))
    found = {
        "schema": 1, "kind": "mine-bench", "experiment": resolved.name, "phase": phase.name, "miner": miner.name,
        "device": str(device), "threads": threads, "queries": queries, "embedding": embedding,
        "step_s": step_s, "banks": rows,
    }  # fmt: skip
    found["verdict"] = verdict(found)
    return found


def _miners(miner: Miner) -> list[Miner]:
    """The phase's own miner, and where it has stages, the same with others."""
    own = getattr(miner, "stages", None)
    return [miner] if own is None else [attrs.evolve(miner, stages=n) for n in sorted({own, *STAGES})]  # type: ignore[misc]


def _seconds(
    miner: Miner, sizes: tuple[int, int, int], dtype: torch.dtype, device: torch.device, seconds: float
) -> float:
    """Of mining for so many queries in so many bank rows of so many dimensions; `dtype` is that of the rows."""
    queries, bank, size = sizes
    generator = torch.Generator(device).manual_seed(0)

    def rows(count: int) -> torch.Tensor:
        return normalize(torch.randn(count, size, device=device, generator=generator))

    copies = max(1, COLD // (2 * bank * size * dtype.itemsize))
    banks = itertools.cycle([(rows(bank).to(dtype), rows(bank).to(dtype)) for _ in range(copies)])
    views = (rows(queries), rows(queries))
    eligible_NK = torch.rand(queries, bank, device=device, generator=generator) > 0.01
    mine = miner.build()
    return median_seconds(
        lambda: mine(*views, *next(banks), eligible_NK, generator=generator), device, at_least_s=seconds
    )


def verdict(found: dict[str, Any]) -> str:
    """Whether mining is worth a thought."""
    (own,) = (row for row in found["banks"] if row["own"])
    what = f"mining for {found['queries']} clips in {own['bank']} rows takes {1e3 * own['mining_s']:.1f} ms"
    share = own["share_of_step"]
    if share is None:
        return what
    head = f"{what}, {share:.2%} of a step: "
    if share < NOTICED:
        return head + "choose bank and stages by what they mine (cprspec mine), not by what they cost"
    return head + "fewer miner.stages or a smaller bank make the step faster; so does a GPU"


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    head = (
        f"phase {found['phase']} of {found['experiment']}: {found['queries']} queries of {found['embedding']} dimensions, "
        f"miner {found['miner']}, {where(found)}"
    )
    rows = [head, f"  {'bank':>9} {'stages':>6} {'ms':>9} {'of a step':>9}"]
    for row in found["banks"]:
        stages = "-" if row["stages"] is None else row["stages"]
        share = "-" if row["share_of_step"] is None else f"{row['share_of_step']:.2%}"
        own = "  the phase's own" if row["own"] else ""
        rows.append(f"  {row['bank']:9} {stages:>6} {1e3 * row['mining_s']:9.2f} {share:>9}{own}")
    return [*rows, found["verdict"]]
