"""The mining tables of a phase: which epochs have one, and what stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from cprspec.runs.layout import NAME, RunDir
from cprspec.runs.reading import read_json

_TABLE = re.compile(r"epoch-(\d{4,12})\.json")


def table_epochs(run: RunDir, phase: str) -> list[int]:
    """The epochs of `phase` that have a mining table, in order; none where the phase does not mine."""
    if not NAME.fullmatch(phase):
        return []
    try:
        names = os.listdir(run.mining(phase))  # noqa: PTH208
    except OSError:
        return []
    return sorted(int(found[1]) for name in names if (found := _TABLE.fullmatch(name)))


def read_table(run: RunDir, phase: str, epoch: int, problems: list[str]) -> Mapping[str, Any] | None:
    """The mining table of one epoch as JSON."""
    return read_json(run.mining_table(phase, epoch), problems, "mining")


def last_table(run: RunDir, phase: str, problems: list[str]) -> Mapping[str, Any] | None:
    """The mining table of the last epoch that has one that can be read."""
    for epoch in reversed(table_epochs(run, phase)):
        if (table := read_table(run, phase, epoch, problems)) is not None:
            return table
    return None
