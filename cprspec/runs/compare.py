"""Runs side by side: what each mined and found, and which classes one won over the other.

Runs of one experiment that differ only in seed are one group: mean and standard deviation over its seeds; splits are
averaged within a run first. Class comparisons are between the first group and each other one, in each mining phase
both have. What a run does not have is None here and "-" on the screen.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypeVar

from attrs import frozen

from cprspec.runs.comparison import (
    ClassesRow,
    Comparison,
    Figure,
    Group,
    LossRow,
    MiningRow,
    PublishedRow,
    ResultRow,
    figure,
)
from cprspec.runs.records import Record, as_number
from cprspec.runs.summary import PhaseSummary, Published, RunSummary

MINING_METRICS = ("precision", "median_cmr", "median_cmr_random", "mean_cmr", "mean_cmr_random", "perfect_classes")
UNITS = ("source", "video")
DIFFER_MOST = 8
"""How many of the classes that differ are listed."""

_SAME = 1e-9
T = TypeVar("T")


@frozen
class _Members:
    """A group with the summaries behind it."""

    letter: str
    runs: tuple[RunSummary, ...]

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


def compare(runs: Sequence[RunSummary]) -> Comparison:
    """Put `runs` side by side, in the order given."""
    groups = _groups(runs)
    phases = _unique(phase.name for group in groups for run in group.runs for phase in run.phases)
    return Comparison(
        groups=tuple(
            Group(
                letter=group.letter,
                experiment=group.runs[0].experiment,
                seeds=tuple(run.seed for run in group.runs),
                states=tuple(run.status.state for run in group.runs),
                runs=tuple(run.run.label for run in group.runs),
            )
            for group in groups
        ),
        mining=tuple(row for phase in phases for row in _mining_rows(groups, phase)),
        results=_result_rows(groups),
        losses=tuple(row for phase in phases for group in groups if (row := _loss_row(group, phase))),
        classes=tuple(
            classes
            for other in groups[1:]
            for phase in phases
            for unit in UNITS
            if (classes := _classes_row(groups[0], other, phase, unit))
        ),
        published=_published_rows(groups),
        problems=tuple(_unique(problem for run in runs for problem in run.problems)),
    )


def letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    high, low = divmod(number, 26)
    return (letter(high - 1) if high else "") + string.ascii_uppercase[low]


def _groups(runs: Sequence[RunSummary]) -> list[_Members]:
    """Runs with equal recipes and different seeds together; the same seed again is a group of its own."""
    buckets: list[list[RunSummary]] = []
    for run in runs:
        for bucket in buckets:
            if bucket[0].recipe == run.recipe and run.seed not in {other.seed for other in bucket}:
                bucket.append(run)
                break
        else:
            buckets.append([run])
    return [_Members(letter(i), tuple(bucket)) for i, bucket in enumerate(buckets)]


def _mining_rows(groups: Sequence[_Members], phase: str) -> list[MiningRow]:
    """Rows of one phase if any group mined in it; a group that has the phase and mined nothing shows None."""
    if not any(p.table for group in groups for p in group.phases(phase)):
        return []
    rows = []
    for unit in UNITS:
        for group in groups:
            own = [r for r in group.records("mining") if r.encoder == phase]
            found = {r.metric: r for r in own if r.unit in {unit, None}}
            classes = next((r.n for r in found.values() if r.metric == "median_cmr"), None)
            figures = {m: group.figure(found[m].sort) if m in found else None for m in MINING_METRICS}
            rows.append(MiningRow(group=group.letter, phase=phase, unit=unit, classes=classes, figures=figures))
    return rows


def _result_rows(groups: Sequence[_Members]) -> tuple[ResultRow, ...]:
    """All other records: a row for each data set, protocol and encoder, groups next to each other."""
    records = [(group, record) for group in groups for record in group.records()]
    places = _unique((r.dataset, r.split, r.protocol, r.encoder) for _, r in records)
    places.sort(key=lambda place: tuple(str(x) for x in place[:3]))  # stable: encoders stay as they came
    rows = []
    for dataset, split, protocol, encoder in places:
        for group in groups:
            own = [
                r for g, r in records
                if g is group and (r.dataset, r.split, r.protocol, r.encoder) == (dataset, split, protocol, encoder)
            ]  # fmt: skip
            if own:
                row = ResultRow(
                    group=group.letter, encoder=encoder or "-", dataset=dataset or "-", split=split or "-",
                    protocol=protocol or "-", n=own[0].n, figures={r.metric: group.figure(r.sort) for r in own},
                )  # fmt: skip
                rows.append(row)
    return tuple(rows)


def _loss_row(group: _Members, name: str) -> LossRow | None:
    phases = group.phases(name)
    if not phases:
        return None

    def over_runs(field: str) -> Figure | None:
        return figure([v for p in phases if (v := getattr(p, field)) is not None])

    return LossRow(
        group=group.letter,
        phase=name,
        epochs_done=min(p.epochs_done for p in phases),
        reused=all(p.reused_from is not None for p in phases),
        epochs=max(p.epochs for p in phases),
        loss=over_runs("loss"),
        own_key_accuracy=over_runs("own_key_accuracy"),
        clips_per_s=over_runs("clips_per_s"),
    )


def _classes_row(group: _Members, other: _Members, phase: str, unit: str) -> ClassesRow | None:
    """None unless both mined in the phase and share a class that has a CMR."""
    mine, theirs = (_class_means(g.phases(phase), unit) for g in (group, other))
    shared = sorted(set(mine) & set(theirs))
    if not shared:
        return None
    differences = {name: mine[name] - theirs[name] for name in shared}
    differing = [name for name in shared if abs(differences[name]) > _SAME]
    most = sorted(differing, key=lambda name: (-round(abs(differences[name]), 9), name))[:DIFFER_MOST]
    won = sum(differences[name] > 0 for name in differing)
    return ClassesRow(
        group=group.letter,
        other=other.letter,
        phase=phase,
        unit=unit,
        won=won,
        tied=len(shared) - len(differing),
        lost=len(differing) - won,
        differ_most=tuple((name, mine[name], theirs[name]) for name in most),
    )


def _class_means(phases: Iterable[PhaseSummary], unit: str) -> dict[str, float]:
    """CMR of each class by name, averaged over the runs that mined."""
    values: dict[str, list[float]] = {}
    for phase in phases:
        rows = phase.table.get("classes") if phase.table and phase.table.get("picks") else None
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                continue
            if (cmr := as_number(row.get(f"cmr_{unit}"))) is not None:
                values.setdefault(row["name"], []).append(cmr)
    return {name: fmean(some) for name, some in values.items()}


def _published_rows(groups: Sequence[_Members]) -> tuple[PublishedRow, ...]:
    named = _unique(p for group in groups for run in group.runs for p in run.published)
    return tuple(
        PublishedRow(
            metric=p.metric,
            value=p.value,
            where=p.where,
            found={group.letter: _counterpart(group, p) for group in groups},
        )
        for p in named
    )


def _counterpart(group: _Members, published: Published) -> tuple[str, Figure] | None:
    """The group's own number for a published one: by what it names, of the group's last phase if it names no encoder.

    Of CMR units, sources come first, as published.
    """
    order = {phase.name: phase.position for run in group.runs for phase in run.phases}
    fitting = [
        record
        for record in [*group.records("mining"), *group.records()]
        if record.metric.lower() == published.metric.lower()
        and published.encoder in {None, record.encoder}
        and published.dataset in {None, record.dataset}
        and published.protocol in {None, record.protocol}
        and record.encoder is not None
    ]
    best = max(fitting, key=lambda r: (order.get(r.encoder or "", -1), r.unit != "video"), default=None)
    found = group.figure(best.sort) if best else None
    return (best.encoder, found) if best and best.encoder and found else None


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
