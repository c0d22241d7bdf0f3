"""Whether an experiment's batches can be shared by so many ranks, and how many made a run so far. No torch."""

from __future__ import annotations

import json
import os

from cprspec.components.evaluators import Classifier
from cprspec.errors import CprspecError, Problem
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Resolved


def check_ranks(resolved: Resolved, world: int) -> None:
    """Whether batches divide over `world` ranks. CprspecError with every phase and evaluation where not.

    Normalisation groups must divide too, or the number of processes would change the method.
    """
    problems: list[Problem] = []
    for p in resolved.phases:
        if p.batch_size % (p.accumulate * world):
            message = (
                f"phase '{p.name}': batch_size {p.batch_size} in {p.accumulate} does not divide over {world} ranks"
            )
            problems.append(Problem(message, hint="choose --nproc so that it does"))
        groups = p.framework.bn_groups
        if groups % world:
            message = f"phase '{p.name}': bn_groups {groups} cannot be shared by {world} ranks"
            hint = f"another --nproc, or --set framework.bn_groups={world}, which is another method"
            problems.append(Problem(message, hint=hint))
    for name, evaluator in resolved.evaluate.items():
        if not isinstance(evaluator, Classifier):
            continue
        if evaluator.batch_size % world:
            message = f"evaluation '{name}': batch_size {evaluator.batch_size} does not divide over {world} ranks"
            problems.append(Problem(message, hint="choose --nproc so that it does"))
        elif evaluator.batch_norm and evaluator.batch_size == world:
            message = f"evaluation '{name}': batch_size {world} is one clip on each of {world} ranks, and batch_norm needs two"
            problems.append(Problem(message, hint="a larger batch_size, fewer --nproc, or batch_norm = false"))
    if problems:
        raise CprspecError(problems)


def made_by(run: RunDir) -> int | None:
    """How many ranks made the run's newest checkpoint; None if there is none, or it does not say."""
    found = max(run.phases.glob("*/checkpoints/step-*/meta.json"), key=os.path.getmtime, default=None)
    try:
        return int(json.loads(found.read_bytes())["world_size"]) if found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged one: the run will say more of it
