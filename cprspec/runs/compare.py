"""Runs side by side: what each mined and found, and which classes one won over the other.

Runs of one experiment that differ only in seed are one group: mean and standard deviation over its seeds; splits are
averaged within a run first. Class comparisons are between the first group and each other one, in each mining phase
both have. What a run does not have is None here and "-" on the screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from cprspec.runs.class_rows import UNITS, class_rows
from cprspec.runs.comparison import Comparison, Figure, Group, LossRow, MiningRow, PublishedRow, ResultRow, figure
from cprspec.runs.differences import difference_rows
from cprspec.runs.groups import Members, encoder_place, group_by_seed
from cprspec.runs.summary import Published, RunSummary

MINING_METRICS = ("precision", "median_cmr", "median_cmr_random", "mean_cmr", "mean_cmr_random", "perfect_classes")
T = TypeVar("T")


def compare(runs: Sequence[RunSummary]) -> Comparison:
    """Put `runs` side by side, in the order given."""
    groups = group_by_seed(runs)
    phases = _unique(phase.name for group in groups for run in group.runs for phase in run.phases)
    return Comparison(
        groups=tuple(
            Group(
                letter=group.letter,
                experiment=group.experiment,
                seeds=tuple(run.seed for run in group.runs),
                states=tuple(run.status.state for run in group.runs),
                runs=tuple(run.run.label for run in group.runs),
            )
            for group in groups
        ),
        differences=difference_rows(groups),
        mining=tuple(row for phase in phases for row in _mining_rows(groups, phase)),
        results=_result_rows(groups),
        losses=tuple(row for phase in phases for group in groups if (row := _loss_row(group, phase))),
        classes=class_rows(groups),
        published=_published_rows(groups),
        problems=tuple(_unique(problem for run in runs for problem in run.problems)),
    )


def _mining_rows(groups: Sequence[Members], phase: str) -> list[MiningRow]:
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


def _result_rows(groups: Sequence[Members]) -> tuple[ResultRow, ...]:
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


def _loss_row(group: Members, name: str) -> LossRow | None:
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


def _published_rows(groups: Sequence[Members]) -> tuple[PublishedRow, ...]:
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


def _counterpart(group: Members, published: Published) -> tuple[str, Figure] | None:
    """The group's own number for a published one: by what it names, of the group's last phase if it names no encoder.

    Of CMR units, sources come first, as published.
    """
    phases = _unique(phase.name for run in group.runs for phase in run.phases)
    fitting = [
        record
        for record in [*group.records("mining"), *group.records()]
        if record.metric.lower() == published.metric.lower()
        and published.encoder in {None, record.encoder}
        and published.dataset in {None, record.dataset}
        and published.protocol in {None, record.protocol}
        and record.encoder is not None
    ]
    best = max(fitting, key=lambda r: (encoder_place(r.encoder, phases), r.unit != "video"), default=None)
    found = group.figure(best.sort) if best else None
    return (best.encoder, found) if best and best.encoder and found else None


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
