"""Which phase a figure is about, and which group has not mined in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cprspec.errors import CprspecError
from cprspec.runs.figures.style import nothing, unknown
from cprspec.runs.groups import Members
from cprspec.runs.summary import RunSummary


def mined_phase(groups: Sequence[Members], phase: str | None = None) -> str:
    """`phase`, or the last one in which the first group that mined has mined. CprspecError where a group has not.

    Groups that mine nothing at all (InfoNCE, the control `siblings`) are an error too: there is nothing to draw of them.
    """
    every = list(dict.fromkeys(p.name for group in groups for run in group.runs for p in run.phases))
    if phase is not None and phase not in every:
        raise unknown("no run has a phase", phase, every)
    mined = [name for name in every if any(tables(group.runs, name) for group in groups)]
    if phase is None and not mined:
        raise nothing("none of the runs has mined anything", "give runs with a phase that mines, after its first epoch")
    chosen = phase or mined[-1]
    for group in groups:
        if not tables(group.runs, chosen):
            raise _unmined(group, chosen, mined)
    return chosen


def tables(runs: Sequence[RunSummary], phase: str) -> list[Mapping[str, Any]]:
    """The last mining table of `phase` in each run that picked something in it."""
    found = [p.table for run in runs for p in run.phases if p.name == phase]
    return [table for table in found if table and table.get("picks")]


def _unmined(group: Members, phase: str, mined: Sequence[str]) -> CprspecError:
    own = [name for name in mined if tables(group.runs, name)]
    hint = f"it mined in {', '.join(own)}: say --phase" if own else "leave it out"
    return nothing(f"{group.letter} ({group.experiment}) has mined nothing in phase '{phase}'", hint)
