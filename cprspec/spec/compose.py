"""From a file to one table: `extends` and `--set` laid over each other, remembering where each key came from.

Tables merge by key; arrays replace, and so do tables of epochs (by_epoch.py), which are one value. A table that chooses
another component with `use` replaces the parent's, since options of one component mean nothing to another. Nothing else
here knows what a key means, apart from `extends`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.by_epoch import is_by_epoch
from cprspec.spec.document import Document, parse_document, read_document
from cprspec.spec.positions import KeyPath

MAX_PARENTS = 16
"""Longest chain of `extends`."""

COMMAND_LINE = "--set"
"""The place of what came from the command line."""

DEFAULT_USE: Mapping[str, str] = {
    "backbone": "s3d",
    "framework": "moco",
    "augment": "coclr",
    "optimizer": "adam",
    "schedule": "step",
}
"""The card of a component that no table chooses."""

NAMED_BY_CARD = ("dataset", "view", "evaluate")
"""Kinds whose tables are named; without `use`, the card of the table's own name is meant."""


class RawText(str):
    """A value of `--set` that is not TOML: taken literally by options that are text, an error for others."""

    __slots__ = ()


@frozen
class Composed:
    """One table from several files: `data`, and in `places` where each value was written last, each table opened first."""

    data: dict[str, Any]
    places: Mapping[KeyPath, Place]
    source: Path

    def place(self, *path: str | int) -> Place:
        """Where `path` was written, or the nearest enclosing table that was; the file where nothing was."""
        for length in range(len(path), 0, -1):
            found = self.places.get(path[:length])
            if found:
                return found
        return Place(str(self.source))

    def with_layer(self, documents: Iterable[Document]) -> Composed:
        """This with `documents` over it, which are one layer: a `use` in one drops nothing that another says."""
        layer: dict[str, Any] = {}
        layer_places: dict[KeyPath, Place] = {}
        for document in documents:
            _lay_over(layer, document.data, layer_places, document.places, (), each_chooses=False)
        data, places = _copy(self.data), dict(self.places)
        _lay_over(data, layer, places, layer_places, ())
        return Composed(data, places, self.source)

    def under(self, *base: str | int) -> Callable[[KeyPath], Place]:
        """The place of a key path inside the table at `base`."""
        return lambda path: self.place(*base, *path)

    def folder(self, *path: str | int) -> Path:
        """The folder to which a relative path written at `path` is relative; the working directory for `--set`."""
        file = self.place(*path).file
        return Path() if file == COMMAND_LINE else Path(file).parent


def compose(path: Path, overrides: Sequence[str] = ()) -> Composed:
    """The experiment at `path` over its parents, and `overrides` (`KEY=VALUE`) over it.

    Raises CprspecError with every override that cannot be read, or the first file that cannot.
    """
    chain = _read_chain(path)
    data: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    for document in reversed(chain):
        own = {k: v for k, v in document.data.items() if k != "extends"}
        if document is not chain[0]:
            own.pop("name", None)  # two experiments must not share a name by accident
        _lay_over(data, own, places, document.places, ())
    composed = Composed(data, places, path)
    layer: list[Document] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            layer.append(_read_override(text))
        except CprspecError as error:
            problems += error.problems
    if problems:
        raise CprspecError(problems)
    return composed.with_layer(layer) if layer else composed


def merged(parent: Mapping[str, Any], child: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A component's table `child` over its default `parent`, which is dropped when `child` chooses another."""
    return {**child} if _chooses_another(parent, child, (kind,)) else {**parent, **child}


def expand(text: str, place: Place) -> Path:
    """A path as written in an experiment: `~` and `${VAR}` stand for what they name. Raises CprspecError if unset."""
    missing = [name for name in re.findall(r"\$\{(\w+)\}", text) if name not in os.environ]
    if missing:
        problem = Problem(
            f"environment variable {missing[0]} is not set", place, f"needed by {clean(text, MAX_ECHO)!r}"
        )
        raise CprspecError(problem)
    if "\0" in text:
        raise CprspecError(Problem("a path cannot hold a NUL character", place))
    expanded = re.sub(r"\$\{(\w+)\}", lambda m: os.environ[m.group(1)], text)
    try:
        return Path(expanded).expanduser()
    except RuntimeError:
        raise CprspecError(Problem(f"no home folder for {clean(text, MAX_ECHO)!r}", place)) from None


def _read_chain(path: Path) -> list[Document]:
    """The document at `path`, then its parent, and so on."""
    chain: list[Document] = []
    seen: list[Path] = []
    while True:
        document = read_document(path)
        chain.append(document)
        seen.append(path.resolve())
        if "extends" not in document.data:
            return chain
        place = document.places.get(("extends",), Place(document.file))
        parent = document.data["extends"]
        if not isinstance(parent, str):
            raise CprspecError(Problem("'extends' must be text", place, "one file, relative to this one"))
        expanded = expand(parent, place)
        path = expanded if expanded.is_absolute() else path.parent / expanded
        if not _is_file(path):
            raise CprspecError(Problem(f"'extends' names {clean(str(path), MAX_ECHO)}, which is not a file", place))
        if path.resolve() in seen:
            raise CprspecError(Problem(f"'extends' leads back to {clean(str(path), MAX_ECHO)}", place))
        if len(chain) > MAX_PARENTS:
            raise CprspecError(Problem(f"more than {MAX_PARENTS} files extend each other", place))


def _is_file(path: Path) -> bool:
    """Whether `path` is a file; a name that is too long for the system is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def parse_override(text: str, option: str = COMMAND_LINE) -> tuple[tuple[str, ...], Any]:
    """The key and the value of `KEY=VALUE`, given with `option` on the command line. CprspecError if it is not that."""
    key, equals, value = text.partition("=")
    echo = clean(text, MAX_ECHO)
    if not equals:
        raise CprspecError(Problem(f"{echo!r} is not KEY=VALUE", Place(option), "for example miner.stages=5"))
    parts = key_parts(key)
    if parts is None:
        raise CprspecError(Problem(f"{clean(key, MAX_ECHO)!r} is not a TOML key", Place(option)))
    if parts[0] == "extends":
        raise CprspecError(Problem("'extends' cannot be set on the command line", Place(option)))
    return parts, _parse_value(value)


def _read_override(text: str) -> Document:
    """`KEY=VALUE` as a document whose every place is `--set`."""
    parts, value = parse_override(text)
    data = nested(parts, value)
    places = dict.fromkeys(key_paths(data, ()), Place(COMMAND_LINE))
    return Document(data, places, COMMAND_LINE)


def key_parts(text: str) -> tuple[str, ...] | None:
    """The parts of a dotted TOML key, None where `text` is none."""
    try:
        table = parse_document(f"{text} = 0", COMMAND_LINE)
    except CprspecError:
        return None
    # one key and nothing else: a line break in it must not smuggle in a second one
    if "\n" in text or text.lstrip().startswith(("[", "#")):
        return None
    return tuple(p for p in max(table.places, key=len) if isinstance(p, str))


def nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    """`value` under the dotted key of `parts`."""
    for part in reversed(parts):
        value = {part: value}
    return cast(dict[str, Any], value)


def _parse_value(text: str) -> Any:
    """A TOML value, or the text itself when it is none."""
    try:
        data = parse_document(f"v = {text}", COMMAND_LINE).data
    except CprspecError:
        return RawText(text)
    return data["v"] if set(data) == {"v"} else RawText(text)


def key_paths(value: Any, path: KeyPath) -> Iterable[KeyPath]:
    """Every key path in `value`."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from key_paths(each, (*path, key))


def _lay_over(
    base: dict[str, Any],
    top: Mapping[str, Any],
    places: dict[KeyPath, Place],
    top_places: Mapping[KeyPath, Place],
    path: KeyPath,
    *,
    each_chooses: bool = True,
) -> None:
    """Merge the table `top` into `base` in place, and with each key the place where it was written.

    A `use` in `top` drops what `base` says beside it, unless `each_chooses` is off: several `--set` are one layer.
    """
    for key, value in top.items():
        here = (*path, key)
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            drops = is_by_epoch(value) or (each_chooses and _chooses_another(old, value, here))
            if not drops:
                _lay_over(old, value, places, top_places, here, each_chooses=each_chooses)
                continue
        if key in base:
            for gone in list(key_paths(old, here)):
                places.pop(gone, None)
        base[key] = _copy(value)
        for added in key_paths(value, here):
            if added in top_places:
                places[added] = top_places[added]


def _chooses_another(old: Mapping[str, Any], new: Mapping[str, Any], path: KeyPath) -> bool:
    """Whether table `new` at `path` names a component other than `old` does."""
    if "use" not in new:
        return False
    last = str(path[-1])
    implied = last if len(path) > 1 and path[0] in NAMED_BY_CARD else DEFAULT_USE.get(last)
    return bool(new["use"] != old.get("use", implied))


def _copy(value: Any) -> Any:
    """`value` with tables of its own, so that merging changes no document."""
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value
