"""Where videos lie: a fact of the machine, so it comes from the command line or the user's configuration first.

Order: `--root NAME=DIR` (relative to the working directory), the table [roots] of the user's configuration file, then
`root` in the data set's own table (relative to the file that says it).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.compose import expand
from cprspec.spec.document import read_document
from cprspec.spec.words import did_you_mean, found, quoted

COMMAND_LINE = "--root"
"""The place of roots from the command line."""


def parse_roots(texts: tuple[str, ...] | list[str]) -> dict[str, str]:
    """`NAME=DIR` texts as a table. Raises CprspecError with each that is none."""
    result: dict[str, str] = {}
    problems = []
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            message = f"{clean(text, MAX_ECHO)!r} is not NAME=DIR"
            example = clean(text, MAX_ECHO) if text and not equals else "/data/ucf101"
            hint = f"name the data set as the experiment does, for example ucf101={example}"
            problems.append(Problem(message, Place(COMMAND_LINE), hint))
        result[name] = folder
    if problems:
        raise CprspecError(problems)
    return result


def configuration_file() -> Path:
    """The user's configuration file, which need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cprspec" / "config.toml"


def configured_roots() -> dict[str, Path]:
    """The table [roots] of the user's configuration file. Raises CprspecError if the file is wrong."""
    file = configuration_file()
    if not file.exists():
        return {}
    document = read_document(file)
    problems = [
        Problem(f"unknown key {quoted(key)}", document.places.get((key,)), did_you_mean(key, ["roots"]))
        for key in document.data
        if key != "roots"
    ]
    table = document.data.get("roots", {})
    if not isinstance(table, dict):
        problems.append(Problem(f"'roots' must be a table, found {found(table)}", document.places["roots",]))
        table = {}
    result: dict[str, Path] = {}
    for name, folder in table.items():
        place = document.places["roots", name]
        if isinstance(folder, str):
            result[name] = (file.parent / expand(folder, place)).absolute()
        else:
            problems.append(Problem(f"root of {quoted(name)} must be text, found {found(folder)}", place))
    if problems:
        raise CprspecError(problems)
    return result


def check_root_names(given: Mapping[str, object], datasets: Mapping[str, object]) -> list[Problem]:
    """A problem for each root on the command line that names no data set."""
    return [
        Problem(f"no data set is called {quoted(name)}", Place(COMMAND_LINE), did_you_mean(name, datasets))
        for name in given
        if name not in datasets
    ]
