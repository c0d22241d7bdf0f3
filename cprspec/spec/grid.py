"""`--grid miner.KEY=[A, B]`: the miners that a laboratory tries, each an option of the run's own miner changed.

A value is TOML, as in `--set`; an array lists several. Several `--grid` are combined, the last one changing fastest.
`miner.use` chooses another card and drops the run's options, as it does in an experiment.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.compose import Composed, RawText, compose, merged, parse_override
from cprspec.spec.kinds import Miner
from cprspec.spec.reader import ComponentReader
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved
from cprspec.spec.words import did_you_mean, quoted

GRID = "--grid"
"""The place of what came from the command line."""

MAX_SETTINGS = 10_000
"""Most settings of one call; more is a mistake in the grid."""


@frozen
class Choice:
    """A miner of the grid: what the grid says of it, the card it is of, and the miner."""

    options: Mapping[str, Any]
    card: str
    miner: Miner


@frozen
class Plan:
    """What a laboratory is asked: the phase, the miner it was trained with, and those to try, in the grid's order."""

    phase: str
    own: Choice
    choices: tuple[Choice, ...]


def read_plan(experiment: Path, registry: Registry, phase: str | None, texts: Sequence[str]) -> Plan:
    """The settings of `--grid` over the miner of `phase` (None: the last that mines) in a resolved `experiment`."""
    grid = parse_grid(texts)
    name = mining_phase(resolve(experiment, registry), phase, experiment)
    composed = compose(experiment)
    (own,) = read_choices(composed, registry, name, {})
    return Plan(name, own, tuple(read_choices(composed, registry, name, grid)))


def mining_phase(resolved: Resolved, name: str | None, file: Path) -> str:
    """The phase called `name`, or the last that mines. CprspecError if there is none, or it mines nothing."""
    mining = [phase.name for phase in resolved.phases if phase.miner is not None]
    if not mining:
        raise CprspecError(
            Problem("no phase of this run mines", Place(str(file)), "a phase mines with mine_with = ...")
        )
    if name is None:
        return mining[-1]
    if name not in mining:
        exists = any(phase.name == name for phase in resolved.phases)
        message = f"phase {quoted(name)} mines nothing" if exists else f"the run has no phase {quoted(name)}"
        raise CprspecError(Problem(message, Place("--phase"), did_you_mean(name, mining)))
    return name


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each miner option by its name. CprspecError with each text that is not `miner.KEY=VALUES`."""
    grid: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    for text in texts:
        try:
            keys, value = parse_override(text, GRID)
        except CprspecError as error:
            problems += error.problems
            continue
        values = value if isinstance(value, list) else [value]
        echo = clean(".".join(keys), MAX_ECHO)
        if len(keys) != 2 or keys[0] != "miner":
            hint = did_you_mean(echo, ["miner.use", "miner.stages", "miner.ratio", "miner.topk"])
            message = f"'{echo}' cannot vary: encoders are fixed, so a grid is over options of the miner"
            problems.append(Problem(message, Place(GRID), hint))
        elif keys[1] in grid:
            problems.append(Problem(f"'{echo}' is there twice", Place(GRID), "write all its values in one array"))
        elif isinstance(value, RawText) and value.lstrip().startswith("["):
            message = f"'{echo}' is not a TOML array: {clean(value, MAX_ECHO)}"
            problems.append(Problem(message, Place(GRID), "numbers begin with a digit, text stands in quotes"))
        elif not values:
            problems.append(Problem(f"'{echo}' has no values", Place(GRID), "for example miner.stages=[1,3,5]"))
        else:
            grid[keys[1]] = values
    if problems:
        raise CprspecError(problems)
    return grid


def read_choices(composed: Composed, registry: Registry, phase: str, grid: Mapping[str, Sequence[Any]]) -> list[Choice]:
    """The miner of `phase` with every combination of `grid` over it; CprspecError with each that cannot be."""
    top, own = composed.data.get("miner", {}), composed.data["phase"][phase].get("miner", {})
    base = merged(top, own, "miner")
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > MAX_SETTINGS:
        raise CprspecError(Problem(f"a grid of {count} settings", Place(GRID), f"at most {MAX_SETTINGS}"))
    choices: list[Choice] = []
    problems: list[Problem] = []
    for values in itertools.product(*grid.values()):
        options = dict(zip(grid, values, strict=True))
        table = merged(base, options, "miner")
        reader = ComponentReader(_placed(composed, phase, options), registry, problems)
        miner = reader.component("miner", table, None, [("phase", phase, "miner")])
        if miner is not None:
            choices.append(Choice(options, str(table["use"]), miner))
    if problems:
        raise CprspecError(list(dict.fromkeys(problems)))
    return choices


def _placed(composed: Composed, phase: str, options: Mapping[str, Any]) -> Composed:
    """`composed` with the options of the grid in their place: `--grid`."""
    here = Place(GRID)
    return Composed(composed.data, {("phase", phase, "miner", key): here for key in options}, composed.source)
