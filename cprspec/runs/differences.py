"""In which keys of the resolved experiment the groups of a comparison differ: what a result may be owed to.

Compared is what is learned (the recipe): seeds, names, the machine, evaluations and published numbers are no difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cprspec.runs.comparison import DifferenceRow
from cprspec.runs.groups import Members

UNREADABLE = "resolved.toml"
"""The key of the one difference that is told where a group's experiment cannot be read."""


def difference_rows(groups: Sequence[Members]) -> tuple[DifferenceRow, ...]:
    """Each key whose value is another in a later group than in the first, None where the key is absent."""
    first, *others = [recipe_of(group) for group in groups] or [None]
    rows = []
    for group, recipe in zip(groups[1:], others, strict=True):
        if first is None or recipe is None:
            found = [] if groups[0].runs[0].recipe == group.runs[0].recipe else [(UNREADABLE, first, recipe)]
        else:
            found = list(_differing(first, recipe, ()))
        rows += [
            DifferenceRow(group=groups[0].letter, other=group.letter, key=key, mine=mine, theirs=theirs)
            for key, mine, theirs in found
        ]
    return tuple(rows)


def recipe_of(group: Members) -> dict[str, Any] | None:
    """What the group learns, without its name; None where that is unknown."""
    try:
        data = json.loads(group.runs[0].recipe)
    except (ValueError, RecursionError):
        return None
    return {key: value for key, value in data.items() if key != "name"}


def _differing(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[str, Any, Any]]:
    """Key path and both values, in the order of the first; a table that only one has is one difference."""
    for key in sorted(
        dict.fromkeys([*mine, *theirs]), key=lambda key: key != "use"
    ):  # what is chosen before its options
        a, b = mine.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differing(a, b, (*above, key))
        elif a != b:
            yield ".".join((*above, key)), a, b
