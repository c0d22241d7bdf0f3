"""From an experiment file to a frozen `Resolved`, or one CprspecError with every problem that could be found.

Three steps: compose the files into one table, read each table through the registry (fill and validate), cross-check
what the parts say about each other. Nothing looks at videos here; see presence.py for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.checks import check_experiment
from cprspec.spec.compose import Composed, compose, expand
from cprspec.spec.kinds import Dataset, Evaluator, View
from cprspec.spec.phases import PhaseReader
from cprspec.spec.plan import order
from cprspec.spec.reader import ComponentReader
from cprspec.spec.registry import Registry
from cprspec.spec.roots import COMMAND_LINE as ROOTS_FROM_COMMAND_LINE
from cprspec.spec.roots import check_root_names, configured_roots
from cprspec.spec.schema import FORMAT, Launch, Phase, Published, Resolved
from cprspec.spec.structure import MAX_PROBLEMS, structure
from cprspec.spec.sweep import members, told_once
from cprspec.spec.tables import SINGLE_COMPONENTS, TABLES, TopLevel
from cprspec.spec.words import did_you_mean, found, listed, quoted

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of experiments, phases, views, data sets and evaluations: they become parts of paths."""

T = TypeVar("T")


Member = tuple[str, int]
"""Which run of a sweep: its name and its seed."""


def resolve(
    path: Path,
    registry: Registry,
    *,
    overrides: Sequence[str] = (),
    roots: Mapping[str, str | Path] | None = None,
    member: Member | None = None,
) -> Resolved:
    """The experiment at `path` with every default filled in; of a sweep the run that `member` names.

    `overrides` are `KEY=VALUE` as in `--set`; `roots` maps data sets to folders as in `--root`. Raises one CprspecError
    with all problems, warnings among them; without an error, warnings are in `Resolved.warnings`. A sweep of several runs
    without `member` is an error.
    """
    composed = compose(Path(path), overrides)
    runs = members(composed)
    if member is not None:
        runs = tuple(run for run in runs if (run.data["name"], run.data.get("seed", 0)) == member)
    if len(runs) == 1:
        return _resolve_one(runs[0], registry, dict(roots or {}))
    if member is not None:
        message = f"the sweep has no run {quoted(member[0])} of seed {member[1]} any more"
        raise CprspecError(Problem(message, composed.place("sweep"), "it was changed while its runs were under way"))
    message = f"a sweep of {len(runs)} runs, not one experiment: {listed(r.data['name'] for r in runs)}"
    hint = f'for one of them set sweep.only=["{runs[0].data["name"]}"], and sweep.seed=[N] if it varies seeds'
    raise CprspecError(Problem(message, composed.place("sweep"), hint))


def resolve_all(
    path: Path, registry: Registry, *, overrides: Sequence[str] = (), roots: Mapping[str, str | Path] | None = None
) -> tuple[Resolved, ...]:
    """The experiment at `path` alone, or every run of its sweep. Raises one CprspecError with the problems of them all."""
    good: list[Resolved] = []
    told: list[tuple[str, Sequence[Problem]]] = []
    for run in members(compose(Path(path), overrides)):
        try:
            good.append(_resolve_one(run, registry, dict(roots or {})))
            told.append((good[-1].name, good[-1].warnings))
        except CprspecError as error:
            told.append((str(run.data.get("name")), error.problems))
    if len(good) < len(told):
        raise CprspecError(_cut(sorted(told_once(told), key=_by_place)))
    return tuple(good)


def _resolve_one(composed: Composed, registry: Registry, roots: Mapping[str, str | Path]) -> Resolved:
    problems: list[Problem] = []
    resolved = _read(composed, registry, roots, problems)
    unique = sorted(dict.fromkeys(problems), key=_by_place)
    if resolved is None or any(not p.warning for p in unique):
        raise CprspecError(_cut(unique))
    return _with_warnings(resolved, unique)


def _cut(problems: Sequence[Problem]) -> list[Problem]:
    """So many problems as someone reads."""
    more = len(problems) - MAX_PROBLEMS
    return [*problems] if more <= 0 else [*problems[:MAX_PROBLEMS], Problem(f"and {more} problems more")]


def _read(
    composed: Composed, registry: Registry, roots: Mapping[str, str | Path], problems: list[Problem]
) -> Resolved | None:
    """Everything that can be read; None where too little could be. Adds to `problems`."""
    top = _top_level(composed, problems)
    for key in TABLES:
        if not isinstance(composed.data.get(key, {}), dict):
            problems.append(_not_a_table(composed, key))
            composed.data[key] = {}
    reader = ComponentReader(composed, registry, problems)
    for kind in SINGLE_COMPONENTS:  # also those that no phase uses: their mistakes are mistakes
        reader.single(kind)
    datasets: dict[str, Dataset] = reader.named("dataset")
    evaluate: dict[str, Evaluator] = reader.named("evaluate")
    phase_reader = PhaseReader(reader, top or TopLevel(format=FORMAT), _train_on(composed, top, problems))
    phases = phase_reader.all()
    views: dict[str, View] = reader.named("view", also=phase_reader.views_named)
    for section in ("dataset", "view", "evaluate", "phase"):
        problems += _name_problems(composed, section)
    launch = _structured(Launch, composed, "launch", problems)
    published = _published(composed, problems)
    given = _roots(composed, reader, datasets, roots, problems)
    problems += check_experiment(composed, phase_reader.tables, phases, evaluate, datasets)
    if top is None or launch is None or any(not p.warning for p in problems):
        return None
    return Resolved(
        name=top.name or composed.source.stem.lstrip("_"),
        source=composed.source,
        seed=top.seed,
        train_on=phase_reader.train_on,
        datasets=datasets,
        roots=given,
        views=views,
        phases=_in_order(phases),
        evaluate=evaluate,
        published=published,
        launch=launch,
        cards=reader.cards,
        places=composed.places,
    )


def _top_level(composed: Composed, problems: list[Problem]) -> TopLevel | None:
    """The keys outside tables, with the format and the name checked."""
    table = {k: v for k, v in composed.data.items() if k not in (*TABLES, "published")}
    also_known = (*TABLES, "published", "extends", "sweep")
    top, wrong = structure(TopLevel, table, "the experiment", composed.under(), also_known)
    problems += wrong
    said = composed.data.get("format")
    if isinstance(said, int) and said != FORMAT:
        hint = f"this version of cprspec reads format {FORMAT}"
        problems.append(Problem(f"format {quoted(said)} is not known", composed.place("format"), hint))
    name = composed.data.get("name", composed.source.stem.lstrip("_"))
    if isinstance(name, str) and not NAME.fullmatch(name):
        problems.append(_bad_name("experiment", name, composed, ("name",)))
    return top


def _train_on(composed: Composed, top: TopLevel | None, problems: list[Problem]) -> str:
    """The data set that phases train on; empty when that cannot be told."""
    names = list(composed.data["dataset"]) if isinstance(composed.data.get("dataset"), dict) else []
    said = composed.data.get("train_on")
    if not names and not any(p.place == composed.place("dataset") for p in problems):  # unless said before
        hint = "add a table [dataset.NAME] with use = ..."
        problems.append(Problem("the experiment names no data set", composed.place("dataset"), hint))
    elif said is None and len(names) > 1:
        message = f"several data sets and no 'train_on': {listed(names)}"
        problems.append(Problem(message, composed.place("dataset"), "say train_on = ... at the top"))
    elif isinstance(said, str) and said not in names:
        hint = did_you_mean(said, names)
        problems.append(Problem(f"no data set is called {quoted(said)}", composed.place("train_on"), hint))
    return said if isinstance(said, str) else names[0] if names else ""


def _name_problems(composed: Composed, section: str) -> list[Problem]:
    """Names of tables in `section` that could not be part of a path."""
    return [
        _bad_name(section, name, composed, (section, name))
        for name in composed.data.get(section, {})
        if not NAME.fullmatch(name)
    ]


def _bad_name(what: str, name: str, composed: Composed, path: tuple[str, ...]) -> Problem:
    hint = "letters, digits, '.', '_' and '-', first a letter or digit, at most 100"
    return Problem(f"{quoted(name)} cannot be the name of {_articled(what)}", composed.place(*path), hint)


def _articled(what: str) -> str:
    words = {"dataset": "a data set", "evaluate": "an evaluation", "experiment": "an experiment"}
    return words.get(what, f"a {what}")


def _not_a_table(composed: Composed, key: str) -> Problem:
    value = composed.data[key]
    hint = f"write [{key}] and below it use = ..." if key in SINGLE_COMPONENTS else f"write [{key}.NAME]"
    if key in ("clip", "launch"):
        hint = f"write [{key}] and below it the options"
    elif key == "dataset":
        hint = "write train_on = ... for the one to train on, and a table [dataset.NAME]"
    return Problem(f"{quoted(key)} must be a table, found {found(value)}", composed.place(key), hint)


def _structured(cls: type[T], composed: Composed, key: str, problems: list[Problem]) -> T | None:
    """The plain table `key`."""
    result, wrong = structure(cls, composed.data.get(key, {}), f"[{key}]", composed.under(key))
    problems += wrong
    return result


def _published(composed: Composed, problems: list[Problem]) -> tuple[Published, ...]:
    """The array of tables [[published]]."""
    value = composed.data.get("published", [])
    if not isinstance(value, list):
        message = f"'published' must be an array of tables, found {found(value)}"
        problems.append(Problem(message, composed.place("published"), "write [[published]]"))
        return ()
    result = []
    for i, table in enumerate(value):
        if not isinstance(table, dict):
            message = f"each 'published' must be a table, found {found(table)}"
            problems.append(Problem(message, composed.place("published", i)))
            continue
        one, wrong = structure(Published, table, f"published number {i + 1}", composed.under("published", i))
        problems += wrong
        if one:
            result.append(one)
    return tuple(result)


def _roots(
    composed: Composed,
    reader: ComponentReader,
    datasets: Mapping[str, Dataset],
    given: Mapping[str, str | Path],
    problems: list[Problem],
) -> dict[str, Path | None]:
    """The folder of each data set, absolute, or None where nobody said."""
    problems += check_root_names(given, composed.data.get("dataset", {}))
    result: dict[str, Path | None] = {}
    try:
        configured = configured_roots()
    except CprspecError as error:
        problems += error.problems
        configured = {}
    for name, dataset in datasets.items():
        try:
            if name in given:
                result[name] = expand(str(given[name]), Place(ROOTS_FROM_COMMAND_LINE)).absolute()
            elif name in configured or dataset.root is None:
                result[name] = configured.get(name)
            else:
                folder = reader.folder_of_option("dataset", name, "root")
                place = reader.place_of_option("dataset", name, "root")
                result[name] = (folder / expand(dataset.root, place)).absolute()
        except CprspecError as error:
            problems += error.problems
    return result


def _in_order(phases: Mapping[str, Phase]) -> tuple[Phase, ...]:
    names = order({name: phase.parents for name, phase in phases.items()})
    return tuple(phases[name] for name in names)


def _with_warnings(resolved: Resolved, warnings: Sequence[Problem]) -> Resolved:
    return attrs.evolve(resolved, warnings=tuple(warnings))


def _by_place(problem: Problem) -> tuple[bool, str, int, int]:
    """Errors in the order in which they stand in the files, what has no place last."""
    place = problem.place
    return (place is None, place.file if place else "", (place and place.line) or 0, (place and place.column) or 0)
