"""From a TOML table to a frozen attrs object, strictly, with every problem at its place.

cattrs walks the classes and collects all errors of a table at once; the hooks here decide what counts as an error: no
text becomes a number, no number becomes a flag, and the bounds of `kinds.option` are checked beside the type, so that a
misspelt key does not hide a value that is too large.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import GenericAlias
from typing import Any, TypeVar, get_args

import attrs
import cattrs
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from cprspec.errors import Place, Problem
from cprspec.spec.by_epoch import ByEpoch
from cprspec.spec.compose import RawText
from cprspec.spec.kinds import fields_of
from cprspec.spec.positions import KeyPath
from cprspec.spec.words import closest, did_you_mean, found, listed, quoted

T = TypeVar("T")

MAX_PROBLEMS = 100
"""Most problems that are told of one table; a file of thousands is no experiment, and hints take time."""

Where = Callable[[KeyPath], Place]
"""Gives the place of a key path inside the table that is being structured."""


_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}


_EPOCH = re.compile(r"0|[1-9][0-9]{0,8}")
"""An epoch as the key of a table."""


class _Wrong(ValueError):  # noqa: N818 - it reads as a sentence: raise _Wrong("a number", value)
    """A value that does not fit: what was expected, for the end of a sentence, and a hint."""

    def __init__(self, expected: str, value: Any, hint: str | None = None, *, right_type: bool = False) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = quoted(value) if right_type else found(value)
        self.hint = hint


def structure(
    cls: type[T], table: Mapping[str, Any], owner: str, where: Where, also_known: Iterable[str] = ()
) -> tuple[T | None, list[Problem]]:
    """`table` as an instance of `cls`, or None and every problem.

    `owner` is what messages call it, such as `miner 'cpr'`. `also_known` are words that may stand beside the options and
    were taken out before; they count as near matches of a misspelt one.
    """
    helps = {a.name: a.metadata.get("help") for a in fields_of(cls)} | dict.fromkeys(also_known)
    try:
        return _converter().structure(dict(table), cls), []
    except ClassValidationError as error:
        first = itertools.islice(_leaves(error, ()), MAX_PROBLEMS)
        return None, [_problem(e, path, helps, owner, where) for e, path in first]


def _leaves(error: BaseException, path: KeyPath) -> Iterator[tuple[BaseException, KeyPath]]:
    """Each single error in cattrs' tree of groups, with its key path."""
    if isinstance(error, ClassValidationError):
        with_notes, others = error.group_exceptions()
        for inner, note in with_notes:
            yield from _leaves(inner, (*path, note.name))
        for inner in others:
            if isinstance(inner, ForbiddenExtraKeysError):
                for key in sorted(inner.extra_fields, key=str):
                    yield inner, (*path, key)
            else:
                yield inner, path
    elif isinstance(error, IterableValidationError):
        with_notes_too, others = error.group_exceptions()
        for inner, item in with_notes_too:
            yield from _leaves(inner, (*path, item.index))
        for inner in others:
            yield inner, path
    else:
        yield error, path


def _problem(error: BaseException, path: KeyPath, helps: Mapping[str, str | None], owner: str, where: Where) -> Problem:
    """One error in the words of the user."""
    name = ".".join(str(p) for p in path if isinstance(p, str))
    if isinstance(error, ForbiddenExtraKeysError):
        return Problem(f"unknown option {quoted(name)} for {owner}", where(path), did_you_mean(name, helps))
    if isinstance(error, KeyError):
        return Problem(f"option {quoted(name)} of {owner} is missing", where(()), helps.get(name))
    if isinstance(error, _Wrong):
        item = f"item {path[-1] + 1} of " if path and isinstance(path[-1], int) else ""
        message = f"{item}option {quoted(name)} of {owner} must be {error.expected}, found {error.found}"
        return Problem(message, where(path), error.hint)
    raise error  # a mistake in a component's class, not in an experiment


@functools.cache
def _converter() -> cattrs.Converter:
    """The strict converter; made once, since cattrs compiles a function for each class."""
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(cls, converter))
    converter.register_structure_hook_func(lambda kind: kind == int | ByEpoch, _int_by_epoch)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_hook(kind, converter))
    converter.register_structure_hook_factory(_is_mapping, lambda kind: _mapping_hook(kind, converter))
    return converter


def _class_hook(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure an attrs class from a table, with the bounds of its options."""
    attrs.resolve_types(cls)
    # Any: the function takes options of its own and one override for each field, all by keyword
    changes: dict[str, Any] = {
        a.name: override(struct_hook=_bounded(a, converter)) for a in fields_of(cls) if a.metadata
    }
    inner: Callable[[Any, Any], Any] = make_dict_structure_fn(
        cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **changes
    )

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise _Wrong("a table", value)
        return inner(value, kind)

    return hook


def _bounded(attribute: attrs.Attribute[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure one option: its type first, then its bounds, for each element where it is an array."""
    base = converter.get_structure_hook(attribute.type)

    def hook(value: Any, kind: Any) -> Any:
        result = base(value, kind)
        if isinstance(result, ByEpoch):
            _each_at_its_key(result.to_table(), lambda _, number: _check_bounds(number, attribute.metadata))
            return result
        for each in result if isinstance(result, tuple) else (result,):
            _check_bounds(each, attribute.metadata)
        return result

    return hook


def _check_bounds(value: Any, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices")
    if choices and isinstance(value, str) and value not in choices:
        near = closest(value, choices)
        hint = f"did you mean {quoted(near)}?" if near else None
        raise _Wrong(f"one of {listed(choices)}", value, hint, right_type=True)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    for key, (words, holds) in _BOUNDS.items():
        limit = metadata.get(key)
        if limit is not None and not holds(value, limit):
            raise _Wrong(f"{words} {limit}", value, right_type=True)


def _bool(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false", value)
    return value


def _int(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong("a whole number", value)
    if not -(2**63) <= value < 2**63:
        raise _Wrong("a whole number of at most 64 bits", value)
    return value


def _int_by_epoch(value: Any, _: Any) -> int | ByEpoch:
    """A whole number, or a table from epochs to whole numbers, which begins with epoch 0 and ascends."""
    if not isinstance(value, dict):
        return _int(value, int)
    previous = -1

    def step(key: str, number: Any) -> tuple[int, int]:
        nonlocal previous
        if not _EPOCH.fullmatch(key):
            raise _Wrong("under an epoch, a whole number from 0", key)
        epoch, before = int(key), previous
        previous = max(previous, epoch)
        if epoch <= before:
            raise _Wrong(f"after epoch {before}, since epochs ascend", epoch, right_type=True)
        return epoch, _int(number, int)

    steps = _each_at_its_key(value, step)
    if "0" not in value:
        hint = "say it for epoch 0 too, as in { 0 = 1, 40 = 3 }; a table replaces the one of a parent"
        raise _Wrong("known from epoch 0 on", value, hint)
    return ByEpoch(tuple(steps))


def _each_at_its_key(table: Mapping[str, Any], check: Callable[[str, Any], T]) -> list[T]:
    """`check(key, value)` of each entry; what any of them finds wrong is told together, each at its own key."""
    good, wrong = [], []
    for key, value in table.items():
        try:
            good.append(check(key, value))
        except _Wrong as error:
            error.__notes__ = [IterableValidationNote("by epoch", key, int)]
            wrong.append(error)
    if wrong:
        raise IterableValidationError("by epoch", wrong, dict)
    return good


def _float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("a number", value)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise _Wrong("a finite number", value)
    return result


def _str(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("text", value, None if isinstance(value, (dict, list)) else "text stands in quotes")
    return str(value) if isinstance(value, RawText) else value


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _tuple_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """`tuple[X, ...]` from an array."""
    list_hook: Callable[[Any, Any], list[Any]] = converter.get_structure_hook(GenericAlias(list, get_args(kind)[:1]))

    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Wrong("an array", value, None if isinstance(value, dict) else "an array stands in brackets")
        return tuple(list_hook(value, list))

    return hook


def _is_mapping(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is Mapping


def _mapping_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """`Mapping[str, X]` from a table with free keys."""
    dict_hook: Callable[[Any, Any], dict[Any, Any]] = converter.get_structure_hook(GenericAlias(dict, get_args(kind)))

    def hook(value: Any, _: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise _Wrong("a table", value)
        return dict_hook(value, dict)

    return hook
