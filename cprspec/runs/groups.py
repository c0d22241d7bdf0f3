"""Runs that differ only in seed, as one group: what `compare` and figures give a letter and a mean over seeds."""

from __future__ import annotations

import string
from collections.abc import Sequence
from statistics import fmean

from attrs import frozen

from cprspec.runs.comparison import Figure, figure
from cprspec.runs.records import Record
from cprspec.runs.summary import PhaseSummary, RunSummary


@frozen
class Members:
    """A group with the summaries behind it."""

    letter: str
    runs: tuple[RunSummary, ...]

    @property
    def experiment(self) -> str:
        """The name that all of its runs have."""
        return self.runs[0].experiment

    def figure(self, sort: Sequence[str | None]) -> Figure | None:
        """The figure over seeds of the records of this sort."""
        per_run = []
        for run in self.runs:
            values = [r.value for r in run.records if r.sort == tuple(sort) and r.value is not None]
            if values:
                per_run.append(fmean(values))
        return figure(per_run)

    def phases(self, name: str) -> list[PhaseSummary]:
        """The phase of this name in each run that has it."""
        return [phase for run in self.runs for phase in run.phases if phase.name == name]

    def records(self, protocol: str | None = None) -> list[Record]:
        """The records of every run, one of each sort, in order of appearance."""
        first: dict[tuple[str | None, ...], Record] = {}
        for run in self.runs:
            for record in run.records:
                if (record.protocol == "mining") == (protocol == "mining"):
                    first.setdefault(record.sort, record)
        return list(first.values())


def group_by_seed(runs: Sequence[RunSummary]) -> list[Members]:
    """Runs with equal recipes and different seeds together, by seed; the same seed again is a group of its own."""
    buckets: list[list[RunSummary]] = []
    for run in runs:
        for bucket in buckets:
            if bucket[0].recipe == run.recipe and run.seed not in {other.seed for other in bucket}:
                bucket.append(run)
                break
        else:
            buckets.append([run])
    by_seed = [sorted(bucket, key=lambda run: (run.seed is None, run.seed or 0)) for bucket in buckets]
    return [Members(letter(i), tuple(bucket)) for i, bucket in enumerate(by_seed)]


def letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    high, low = divmod(number, 26)
    return (letter(high - 1) if high else "") + string.ascii_uppercase[low]


def encoder_place(encoder: str | None, phases: Sequence[str]) -> int:
    """The place among `phases` of the one that trained `encoder` (PHASE or PHASE/VIEW); -1: untrained, joined or unknown."""
    phase = (encoder or "").partition("/")[0]
    return phases.index(phase) if phase in phases else -1
