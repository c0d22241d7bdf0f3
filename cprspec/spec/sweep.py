"""`[sweep]`: one file, several runs. Keys are key paths with a list of values each; every combination is a run.

    [sweep]
    seed = [0, 1, 2]                        # runs of the same name, which `compare` takes as one
    miner.stages = [1, 3, 5]                # a list of values
    framework = [{ queue_size = 1024 }, { queue_size = 2048, momentum = 0.99 }]      # or of tables, laid over its own
    only = ["stages-3-queue_size-1024"]     # of all the runs these

    [[sweep.cases]]                         # settings that belong together, under a name
    name = "progressive"
    miner.topk = { 0 = 1, 40 = 3 }

Values are laid over the experiment (after `--set`) as one layer. A run is called after the experiment and its values; what
is wrong with a value is told where the sweep says it. Nothing here knows what a key means, apart from `seed` and `use`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.by_epoch import is_by_epoch
from cprspec.spec.compose import COMMAND_LINE, Composed, key_parts, key_paths, nested
from cprspec.spec.document import Document
from cprspec.spec.positions import KeyPath
from cprspec.spec.words import did_you_mean, found, quoted

MAX_RUNS = 1000
"""Most runs of one sweep."""

Keys = tuple[str, ...]
"""A key path of the experiment."""

_FIXED = {
    "name": "runs are called after their values; a case may have a name: [[sweep.cases]]",
    "format": "it is the file's",
    "extends": "a file has one parent",
    "sweep": "a sweep varies an experiment, not another sweep",
}
_SEED: Keys = ("seed",)


@frozen
class _Choice:
    """One value of an axis: what it adds to the run's name (nothing for a seed), and what it lays over the experiment."""

    label: str
    layer: Document

    def leaves(self) -> set[Keys]:
        """The key paths that it sets."""
        return {path for path, _ in _leaves(self.layer.data, ())}


Axis = list[_Choice]


def members(composed: Composed) -> tuple[Composed, ...]:
    """The experiments of a sweep, each with its own name and without the sweep; the experiment itself if there is none.

    Raises CprspecError with every problem of the sweep's own form.
    """
    if "sweep" not in composed.data:
        return (composed,)
    table, problems = composed.data["sweep"], list[Problem]()
    if not isinstance(table, dict):
        hint = "write [sweep] and below it key = [values]"
        raise CprspecError(Problem(f"'sweep' must be a table, found {found(table)}", composed.place("sweep"), hint))
    axes = [*_grid(composed, table, problems), *_cases(composed, table, problems)]
    problems += _without_effect(composed, axes)
    count = math.prod(len(axis) for axis in axes)
    if not axes and not problems:
        problems.append(Problem("the sweep varies nothing", composed.place("sweep"), "write below it key = [values]"))
    elif count > MAX_RUNS:
        problems.append(Problem(f"the sweep has {count:,} runs, more than {MAX_RUNS:,}", composed.place("sweep")))
    if problems:
        raise CprspecError(problems)
    base = Composed({k: v for k, v in composed.data.items() if k != "sweep"}, composed.places, composed.source)
    every = [_member(base, composed.place("sweep"), choices) for choices in itertools.product(*axes)]
    problems += _same_name(composed, [member for _, member in every])
    chosen = _only(composed, table, every, problems)
    if problems:
        raise CprspecError(problems)
    return tuple(chosen)


def told_once(of_each: Sequence[tuple[str, Iterable[Problem]]]) -> list[Problem]:
    """The problems of the members of a sweep, by name, each told once; one that not all have says who has it."""
    names: dict[Problem, list[str]] = {}
    for name, problems in of_each:
        for problem in dict.fromkeys(problems):
            names.setdefault(problem, []).append(name)
    return [p if len(has) == len(of_each) else _in_some(p, has, len(of_each)) for p, has in names.items()]


def _in_some(problem: Problem, names: Sequence[str], of: int) -> Problem:
    more = f" and {len(names) - 1} more of {of} runs" if len(names) > 1 else f", of {of} runs"
    return Problem(f"{problem.message} (in {quoted(names[0])}{more})", problem.place, problem.hint, problem.warning)


def _grid(composed: Composed, table: Mapping[str, Any], problems: list[Problem]) -> list[Axis]:
    """The axes that are lists of values."""
    written: dict[Keys, tuple[KeyPath, list[Any]]] = {}
    for raw, value in _leaves(table, ()):
        path = _dotted(raw)
        if raw[0] in ("cases", "only"):
            continue
        place, name = composed.place("sweep", *raw), ".".join(path)
        if path[0] in _FIXED:
            problems.append(Problem(f"a sweep cannot vary {quoted(path[0])}", place, _FIXED[path[0]]))
        elif not isinstance(value, list) or not value:
            message = f"{quoted(name)} of the sweep must be an array of values, found {_short(value)}"
            problems.append(Problem(message, place, "values stand in brackets"))
        elif path in written:
            hint = "it stands there in two spellings; the same spelling replaces"
            problems.append(Problem(f"the sweep varies {quoted(name)} twice", place, hint))
        else:
            written[path] = (("sweep", *raw), value)
    shown = _distinct(list(written))
    return [
        [_choice(composed, _label(shown[path], v), {path: v}, {path: (*at, i)}) for i, v in enumerate(values)]
        for path, (at, values) in written.items()
    ]


def _cases(composed: Composed, table: Mapping[str, Any], problems: list[Problem]) -> list[Axis]:
    """The axis of the tables [[sweep.cases]], if there are any."""
    cases = table.get("cases")
    if cases is None:
        return []
    if not isinstance(cases, list) or not cases or not all(isinstance(case, dict) for case in cases):
        message = f"'cases' of the sweep must be an array of tables, found {_short(cases)}"
        problems.append(Problem(message, composed.place("sweep", "cases"), "write [[sweep.cases]]"))
        return []
    axis: Axis = []
    for i, case in enumerate(cases):
        at = ("sweep", "cases", i)
        name = case.get("name", "")
        if not isinstance(name, str):
            problems.append(Problem(f"'name' of a case must be text, found {found(name)}", composed.place(*at, "name")))
        values = {_dotted((key,)): value for key, value in case.items() if key != "name"}
        for path in values:
            if path[0] in _FIXED:
                place = composed.place(*at, path[0])
                problems.append(Problem(f"a sweep cannot vary {quoted(path[0])}", place, _FIXED[path[0]]))
        if not values:
            problems.append(Problem("the case sets nothing", composed.place(*at), "write below it key = value"))
        label = name or "-".join(filter(None, (_label(path[-1:], v) for path, v in values.items())))
        axis.append(_choice(composed, str(label), values, {_dotted((key,)): (*at, key) for key in case}))
    return [axis]


def _choice(composed: Composed, label: str, values: Mapping[Keys, Any], at: Mapping[Keys, KeyPath]) -> _Choice:
    """`values` by key path as a layer, in which each key has the place where the sweep says it."""
    data: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    for path, value in values.items():
        table = data
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
        for inner in key_paths(nested(path, value), ()):
            places[inner] = composed.place(*at[path], *inner[len(path) :])
    return _Choice(label, Document(data, places, str(composed.source)))


def _member(base: Composed, place: Place, choices: Sequence[_Choice]) -> tuple[str, Composed]:
    """One run: the labels of its choices, and the experiment with them over it."""
    label = "-".join(filter(None, (choice.label for choice in choices)))
    experiment = base.data.get("name", base.source.stem.lstrip("_"))
    name = f"{experiment}-{label}" if label and isinstance(experiment, str) else experiment
    own = Document({"name": name}, {("name",): place}, place.file)
    return label, base.with_layer([own, *(choice.layer for choice in choices)])


def _same_name(composed: Composed, every: Iterable[Composed]) -> list[Problem]:
    """Runs that nothing would tell apart: those of one name differ in seed."""
    times = Counter((str(member.data["name"]), str(member.data.get("seed"))) for member in every)
    return [
        Problem(
            f"{count} runs of the sweep would be called {quoted(name)}",
            composed.place("sweep"),
            "give a value once; name cases with name = ...",
        )
        for (name, _), count in times.items()
        if count > 1
    ]


def _only(
    composed: Composed, table: Mapping[str, Any], every: Sequence[tuple[str, Composed]], problems: list[Problem]
) -> list[Composed]:
    """The members that `only` names, by label or whole name; all where nothing says `only`."""
    if "only" not in table:
        return [member for _, member in every]
    wanted = table["only"]
    if not isinstance(wanted, list) or not wanted:
        message = f"'only' of the sweep must be an array of names, found {_short(wanted)}"
        problems.append(Problem(message, composed.place("sweep", "only")))
        return []
    names = [{label, str(member.data["name"])} for label, member in every]
    for i, name in enumerate(wanted):
        if not any(name in known for known in names if isinstance(name, str)):
            hint = did_you_mean(str(name), dict.fromkeys(label for label, _ in every))
            message = f"no run of the sweep is called {quoted(name)}"
            problems.append(Problem(message, composed.place("sweep", "only", i), hint))
    return [member for known, (_, member) in zip(names, every, strict=True) if any(name in known for name in wanted)]


def _without_effect(composed: Composed, axes: Sequence[Axis]) -> list[Problem]:
    """What is set on the command line or by two parts of the sweep, one of which would count for nothing."""
    paths = [{path for choice in axis for path in choice.leaves()} for axis in axes]
    problems = []
    for path in sorted(set().union(*paths)):
        name = quoted(".".join(path))
        if sum(path in each for each in paths) > 1:
            problems.append(Problem(f"two parts of the sweep vary {name}", composed.place("sweep")))
        place = composed.places.get(path)
        if place is not None and place.file == COMMAND_LINE:
            hint = f"to choose its values: --set 'sweep.{'.'.join(path)}=[...]'"
            problems.append(Problem(f"{name} is varied by the sweep, so setting it changes nothing", place, hint))
    return problems


def _leaves(table: Mapping[str, Any], above: Keys) -> Iterator[tuple[Keys, Any]]:
    """Every key path in `table` with its value; tables that go by epoch and empty ones are values."""
    for key, value in table.items():
        if isinstance(value, dict) and value and not is_by_epoch(value):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _dotted(raw: Keys) -> Keys:
    """A key path whose first key may be written in quotes, dots and all: `"miner.stages" = [1, 3]`."""
    parts = key_parts(raw[0]) if "." in raw[0] else None
    return (*(parts or raw[:1]), *raw[1:])


def _distinct(paths: Sequence[Keys]) -> dict[Keys, Keys]:
    """The shortest ends of `paths` that differ: `stages`, or `rgb.epochs` and `flow.epochs`."""
    length = dict.fromkeys(paths, 1)
    while True:
        ends = Counter(path[-length[path] :] for path in paths)
        longer = [p for p in paths if ends[p[-length[p] :]] > 1 and length[p] < len(p) and p[-length[p] :] != ("use",)]
        if not longer:
            return {path: path[-length[path] :] for path in paths}
        for path in longer:
            length[path] += 1


def _label(end: Keys, value: Any) -> str:
    """What a value adds to the name of a run; a seed nothing, since runs that differ only in seed have one name."""
    if end == _SEED:
        return ""
    if isinstance(value, dict) and not is_by_epoch(value):
        return "-".join(filter(None, (_label(path[-1:], inner) for path, inner in _leaves(value, ()))))
    text = _text(value)
    return text if end[-1] == "use" else f"{_text('.'.join(end))}-{text}"


def _text(value: Any) -> str:
    """A value in the letters that names may have."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "-".join(f"{_text(key)}-{_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "-".join(_text(inner) for inner in value)
    return re.sub(r"[^A-Za-z0-9._]+", "-", str(value)).strip("-") if isinstance(value, str) else str(value)


def _short(value: Any) -> str:
    return "an empty array" if value == [] else found(value)
