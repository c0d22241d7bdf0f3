"""Classes of one group against those of another: won, tied, lost, and a paired test over them.

What a class has: its CMR by source and by video in each phase that mined, its R@1 in each retrieval, and its top-1 in each
recognition. Over the seeds of a group (and over numbered splits) it is the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from attrs import frozen

from cprspec.runs.comparison import ClassesRow
from cprspec.runs.groups import Members
from cprspec.runs.paired import difference, median_interval, signed_rank
from cprspec.runs.records import as_number, read_record
from cprspec.runs.summary import RunSummary

CMR = "cmr"
UNITS = ("source", "video")
DIFFER_MOST = 8
"""How many of the classes that differ are listed."""


@frozen(kw_only=True)
class Of:
    """What the classes' numbers are: `metric` (`cmr`, `R@1`, `top1`) of `encoder` (a phase, for CMR)."""

    metric: str
    encoder: str
    unit: str
    dataset: str | None = None
    protocol: str | None = None


def class_rows(groups: Sequence[Members]) -> tuple[ClassesRow, ...]:
    """The first group against each other one, in everything that both have for some class; CMR first."""
    values = [class_means(group.runs) for group in groups]
    places = sorted(dict.fromkeys(of for each in values for of in each), key=lambda of: of.metric != CMR)
    return tuple(
        row
        for other, theirs in zip(groups[1:], values[1:], strict=True)
        for of in places
        if (row := _row(groups[0].letter, other.letter, of, values[0].get(of, {}), theirs.get(of, {})))
    )


def class_means(runs: Sequence[RunSummary]) -> dict[Of, dict[str, float]]:
    """Each class's number by its name, the mean over `runs` that have one, for everything that any of them has."""
    return _means([*_mined(run, CMR), *_evaluated(run)] for run in runs)


def random_means(runs: Sequence[RunSummary]) -> dict[Of, dict[str, float]]:
    """The CMR that a miner which picks as often reaches at random, in the form of `class_means`."""
    return _means(_mined(run, "random") for run in runs)


def _means(runs: Iterable[Iterable[tuple[Of, str, float]]]) -> dict[Of, dict[str, float]]:
    """The mean over runs of each run's own mean."""
    found: dict[Of, dict[str, list[float]]] = {}
    for run in runs:
        per_run: dict[Of, dict[str, list[float]]] = {}
        for of, name, value in run:
            per_run.setdefault(of, {}).setdefault(name, []).append(value)
        for of, classes in per_run.items():
            for name, values in classes.items():
                found.setdefault(of, {}).setdefault(name, []).append(fmean(values))
    return {of: {name: fmean(values) for name, values in classes.items()} for of, classes in found.items()}


def _row(group: str, other: str, of: Of, mine: Mapping[str, float], theirs: Mapping[str, float]) -> ClassesRow | None:
    """None unless they share a class."""
    shared = sorted(set(mine) & set(theirs))
    if not shared:
        return None
    differences = {name: difference(mine[name], theirs[name]) for name in shared}
    differing = [name for name in shared if differences[name]]
    most = sorted(differing, key=lambda name: (-abs(differences[name]), name))[:DIFFER_MOST]
    won = sum(differences[name] > 0 for name in differing)
    return ClassesRow(
        group=group,
        other=other,
        metric=of.metric,
        encoder=of.encoder,
        unit=of.unit,
        dataset=of.dataset,
        protocol=of.protocol,
        won=won,
        tied=len(shared) - len(differing),
        lost=len(differing) - won,
        difference=median_interval(list(differences.values())),
        test=signed_rank(list(differences.values())),
        differ_most=tuple((name, mine[name], theirs[name]) for name in most),
    )


def _mined(run: RunSummary, column: str) -> Iterator[tuple[Of, str, float]]:
    """What each class has in `column` (by unit) in the last mined epoch of each phase: its CMR, or the random miner's."""
    for phase in run.phases:
        rows = phase.table.get("classes") if phase.table and phase.table.get("picks") else None
        for unit in UNITS:
            for row in rows if isinstance(rows, list) else ():
                if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
                    continue
                if (cmr := as_number(row.get(f"{column}_{unit}"))) is not None:
                    yield Of(metric=CMR, encoder=phase.name, unit=unit), row["name"], cmr


def _evaluated(run: RunSummary) -> Iterator[tuple[Of, str, float]]:
    """R@1 or top-1 of each class by each encoder, from every evaluation that tells it."""
    for facts in run.evaluations.values():
        metric = "R@1" if facts.get("use") == "retrieval" else "top1"
        per_class = _table(facts.get("per_class"))
        records = facts.get("records")
        read = [record for item in (records if isinstance(records, list) else ()) if (record := read_record(item))]
        # Data sets are called as the experiment calls them; their records, in the same order, as their first split.
        places = list(dict.fromkeys((r.dataset, r.split, r.protocol) for r in read))
        for number, (called, encoders) in enumerate(per_class.items()):
            whole = len(places) == len(per_class)
            dataset, _, protocol = places[number] if whole else (called, None, None)
            for encoder, classes in _table(encoders).items():
                of = Of(metric=metric, encoder=encoder, unit="video", dataset=dataset, protocol=protocol)
                for name, value in _table(classes).items():
                    if (number_of := as_number(value)) is not None:
                        yield of, name, number_of


def _table(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}
