"""Two or more resolved experiments: which lines of the first another one has otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tomli_w
from attrs import frozen

from cprspec.spec.positions import KeyPath, find_positions

ABSENT = "absent"


@frozen
class Difference:
    """A key on line `line` (from 1; None: only others have it), and what each other experiment has; None: the same."""

    path: KeyPath
    line: int | None
    others: tuple[str | None, ...]


def differences(text: str, table: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Where `others` differ from the experiment `table`, which stands in `text`; in the order of its lines."""
    places = find_positions(text, "")
    mine, theirs = dict(leaves(table)), [dict(leaves(other)) for other in others]
    found = []
    for path in dict.fromkeys([*mine, *(path for other in theirs for path in other)]):
        values = tuple(_otherwise(path, mine, other) for other in theirs)
        if any(value is not None for value in values):
            place = places.get(path) if path in mine else None
            found.append(Difference(path, place.line if place else None, values))
    return sorted(found, key=lambda one: (one.line is None, one.line or 0))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that is no table, with its key path; arrays of tables are gone into, other arrays are values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, number))
    else:
        yield path, value


def _otherwise(path: KeyPath, mine: Mapping[KeyPath, Any], other: Mapping[KeyPath, Any]) -> str | None:
    if path not in other:
        return ABSENT
    value = other[path]
    # TOML's 1 and 1.0 and true are three values.
    same = path in mine and type(mine[path]) is type(value) and mine[path] == value
    return None if same else spelled(value)


def spelled(value: Any) -> str:
    """A value as TOML has it, in one line."""
    return " ".join(tomli_w.dumps({"x": value}).removeprefix("x = ").split())
