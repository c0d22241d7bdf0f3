"""What the report of some runs says, read from their directories alone: `report` gives the page."""

from __future__ import annotations

import shlex
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from cprspec import __version__
from cprspec.runs.class_rows import CMR, Of, class_means, random_means
from cprspec.runs.columns import Column, names
from cprspec.runs.compare import compare
from cprspec.runs.compare_tables import tables
from cprspec.runs.groups import Members, group_by_seed
from cprspec.runs.layout import RunDir
from cprspec.runs.reading import read_json, read_text
from cprspec.runs.report.figures import Drawing, drawings
from cprspec.runs.report.mined import Mined, Pictures, mined
from cprspec.runs.report.page import render
from cprspec.runs.summary import RunSummary, summarise
from cprspec.runs.telling import duration


@frozen
class Table:
    """A table as the page shows it."""

    title: str
    columns: tuple[Column, ...]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Its cells, row by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@frozen
class GroupPart:
    """What one experiment did: its phases, and what its runs have to say of themselves."""

    letter: str
    experiment: str
    news: tuple[str, ...]
    phases: Table


@frozen
class ClassPart:
    """CMR of every class in one phase: a row has a name and values, of which the first `shares` are no differences."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    shares: int


@frozen
class Row:
    """One class."""

    name: str
    values: tuple[float | None, ...]


@frozen
class Again:
    """How to have one run once more."""

    label: str
    file: str
    command: str
    note: str | None
    environment: Table
    resolved: str | None
    address: str


@frozen(kw_only=True)
class Report:
    """Everything on the page."""

    title: str
    legend: Table
    groups: tuple[GroupPart, ...]
    differences: tuple[Table, ...]
    results: tuple[Table, ...]
    figures: tuple[Drawing, ...]
    not_drawn: tuple[str, ...]
    classes: tuple[ClassPart, ...]
    mined: tuple[Mined, ...]
    pictures_left_out: str | None
    again: tuple[Again, ...]
    problems: tuple[str, ...]
    runs: str
    version: str = __version__


def page(runs: Sequence[RunDir]) -> tuple[str, tuple[str, ...]]:
    """The report of `runs` as HTML, and what could not be read of them."""
    report = report_of([summarise(run) for run in runs])
    return render("report.html", report=report), report.problems


def report_of(runs: Sequence[RunSummary]) -> Report:
    """What the page says of `runs`."""
    comparison, groups = compare(runs), group_by_seed(runs)
    problems = list(comparison.problems)
    (_, legend), *others = tables(comparison)
    differing = [Table(title, tuple(columns)) for title, columns in others[: bool(comparison.differences)]]
    results = [Table(title, tuple(columns)) for title, columns in others[len(differing) :]]
    drawn, not_drawn = drawings(runs)
    pictures = Pictures()
    shown = mined(groups, pictures)
    return Report(
        title=" and ".join(dict.fromkeys(group.experiment for group in groups)),
        legend=Table("Runs", tuple(legend)),
        groups=tuple(_group(group) for group in groups),
        differences=tuple(differing),
        results=tuple(results),
        figures=drawn,
        not_drawn=not_drawn,
        classes=tuple(_classes(groups)),
        mined=shown,
        pictures_left_out=f"{pictures.left_out} pictures are left out to keep the page small."
        if pictures.left_out
        else None,
        again=tuple(_again(run, problems) for run in runs),
        problems=tuple(dict.fromkeys(problems)),
        runs=", ".join(run.run.label for run in runs),
    )


def _group(group: Members) -> GroupPart:
    phases = group.runs[0].phases
    columns = (
        names("phase", [phase.name for phase in phases]),
        names("learns", [" and ".join(phase.views) or "-" for phase in phases]),
        names("mined by", [phase.miner or "-" for phase in phases]),
        Column("epochs", tuple("reused" if p.reused_from else f"{p.epochs_done} of {p.epochs}" for p in phases)),
        Column("time", tuple("-" if phase.seconds_s is None else duration(phase.seconds_s) for phase in phases)),
        names("taken from", [phase.reused_from or "-" for phase in phases]),
    )
    return GroupPart(group.letter, group.experiment, tuple(_news(group)), Table("Phases", columns))


def _news(group: Members) -> Iterator[str]:
    for run in group.runs:
        if run.status.state != "finished":
            why = f": {run.status.why}" if run.status.why else ""
            yield f"Run {run.run.run_id} is not finished but {run.status.state}{why}."


def _classes(groups: Sequence[Members]) -> Iterator[ClassPart]:
    """For each phase that mined: every class's CMR in each group and at random, and the first group's lead over the second."""
    means = [class_means(group.runs) for group in groups]
    places = [of for of in dict.fromkeys(of for each in means for of in each) if of.metric == CMR]
    for of in places:
        if of.unit == "video" and Of(metric=CMR, encoder=of.encoder, unit="source") in places:
            continue
        having = [(group, own[of]) for group, own in zip(groups, means, strict=True) if of in own]
        columns = {group.letter: own for group, own in having}
        columns[f"{having[0][0].letter} at random"] = random_means(having[0][0].runs).get(of, {})
        shares = len(columns)
        if len(having) > 1:
            (first, mine), (second, theirs) = [(group.letter, own) for group, own in having[:2]]
            columns[f"{first} - {second}"] = {name: mine[name] - theirs[name] for name in mine if name in theirs}
        classes = sorted(set().union(*(own for _, own in having)))
        rows = tuple(Row(name, tuple(own.get(name) for own in columns.values())) for name in classes)
        yield ClassPart(f"Phase {of.encoder}: CMR over {of.unit}s (%)", ("class", *columns), rows, shares)


def _again(run: RunSummary, problems: list[str]) -> Again:
    facts = read_json(run.run.environment, problems, "environment") or {}
    resolved = read_text(run.run.resolved, problems)
    file = (
        f"{run.run.experiment_name}-seed{run.seed}.toml" if run.seed is not None else f"{run.run.experiment_name}.toml"
    )
    roots = [f"--root {shlex.quote(f'{name}=DIR')}" for name in _with_roots(resolved)]
    world, threads = facts.get("world_size"), facts.get("threads")
    nproc = [f"--nproc {world}"] if isinstance(world, int) and world > 1 else []
    fixed = [f"--set launch.threads={threads}"] if isinstance(threads, int) else []
    note = "The same numbers to the bit on a CPU with the same versions, processes and threads."
    return Again(
        label=run.run.label,
        file=file,
        command=" ".join(["cprspec run", shlex.quote(file), *roots, *nproc, *fixed, "--fresh"]),
        note=f"{note} DIR is where the videos lie." if roots else note,
        environment=Table("Where it ran", _environment(facts)),
        resolved=resolved,
        address=f"data:text/plain;base64,{b64encode((resolved or '').encode('utf-8', 'replace')).decode('ascii')}",
    )


def _environment(facts: Mapping[str, Any]) -> tuple[Column, ...]:
    versions = facts.get("versions")
    rows = [(str(name), str(version)) for name, version in (versions.items() if isinstance(versions, Mapping) else ())]
    for key, words in (
        ("platform", "platform"),
        ("cpus", "CPU cores"),
        ("device", "device"),
        ("world_size", "processes"),
    ):
        if key in facts:
            rows.append((words, str(facts[key])))
    rows.append(("CPU threads of each process", str(facts.get("threads", "-"))))
    return names("", [name for name, _ in rows]), names("version", [value for _, value in rows])


def _with_roots(resolved: str | None) -> list[str]:
    """The data sets whose videos lie somewhere on the machine that ran it."""
    try:
        found = tomllib.loads(resolved or "").get("dataset")
    except (ValueError, RecursionError):
        return []
    return (
        [name for name, table in found.items() if isinstance(table, Mapping) and "root" in table]
        if isinstance(found, Mapping)
        else []
    )
