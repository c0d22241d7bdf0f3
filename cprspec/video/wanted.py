"""How a store has to be made for an experiment: what its phases read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cprspec.components.views import Flow
from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.schema import Resolved

SHORT_SIDE = 144
"""Short side of a store's pictures where no experiment says another: crops of 128 pixels are cut from it."""

FLOW = "dis"


def short_side_of(runs: Sequence[Resolved], spec: Path) -> int:
    """The short side that every phase of every run cuts its clips from. CprspecError if there are several."""
    sides = sorted({phase.clip.stored_side for run in runs for phase in run.phases})
    if len(sides) > 1:
        message = f"its phases cut clips from pictures of several sizes: {', '.join(map(str, sides))} pixels"
        raise CprspecError(Problem(message, Place(str(spec)), "one store has one size: choose with --short-side"))
    return sides[0] if sides else SHORT_SIDE


def flow_of(runs: Sequence[Resolved], spec: Path) -> str | None:
    """The flow method that the runs' views ask for; None without flow. CprspecError if there are several."""
    used = [run.views[name] for run in runs for phase in run.phases for name in run.views_of(phase)]
    methods = sorted({view.method for view in used if isinstance(view, Flow)})
    if len(methods) > 1:
        message = f"its views have flow by several methods: {', '.join(methods)}"
        raise CprspecError(Problem(message, Place(str(spec)), "one store has one: choose with --flow"))
    return methods[0] if methods else None
