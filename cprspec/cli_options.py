"""Options that commands in several modules share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cprspec.errors import CprspecError, Place, Problem

if TYPE_CHECKING:
    from rich.console import Console


_WIDE = 240
"""Characters of a line that is not for a terminal."""


def complete_run(incomplete: str) -> list[str]:
    """Shell completion of a run under ./runs, as experiment/run; a listing of two folders, nothing is opened."""
    found = sorted(Path("runs").glob("*/*/"))
    return [name for name in (p.as_posix() for p in found) if name.startswith(incomplete)]


Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="An experiment file.", show_default=False)]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A path, an experiment's name (the latest run), or an unambiguous beginning.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Paths (runs/NAME/* is every seed), names of experiments (the latest run), or unambiguous beginnings.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
RunsFolder = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")]
Registries = Annotated[
    list[Path] | None, typer.Option("--registry", metavar="DIR", help="Another folder of cards: KIND/NAME.toml.")
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A Python file with more components; it is run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the experiment, as in --set miner.stages=5."),
]
Roots = Annotated[
    list[str] | None, typer.Option("--root", metavar="NAME=DIR", help="Where the videos of a data set lie.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def refuse_parents(texts: Sequence[str]) -> None:
    """CprspecError if `texts` name nothing to run but files for others to extend: `_x.toml`."""
    parents = [Path(text) for text in texts if text.endswith(".toml") and Path(text).name.startswith("_")]
    if parents and len(parents) == len(texts):
        hint = "run one that extends it, or a copy whose name does not begin with _"
        message = "a parent for other files, not run by itself"
        raise CprspecError([Problem(message, Place(str(path)), hint) for path in parents])


def refuse_to_replace(paths: Iterable[Path], force: bool) -> None:
    """CprspecError for each of `paths` that exists, unless `force`; said before any work is done."""
    there = [path for path in paths if path.exists()]
    if there and not force:
        raise CprspecError([Problem("exists already", Place(str(path)), "--force replaces it") for path in there])


def check_paths(paths: Iterable[Path], written: Iterable[Path] = ()) -> None:
    """CprspecError for each of `paths` that is not there, else for a file to be `written` that cannot be; before any work."""
    from cprspec.runs.files import check_writable

    gone = [Problem("no such file or folder", Place(str(path))) for path in paths if not path.exists()]
    if gone:
        raise CprspecError(gone)
    for path in written:
        check_writable(path)


def table_console() -> Console:
    """Where tables go: as wide as the terminal, or as $COLUMNS says; in a file or pipe nothing is cut."""
    import os
    import sys

    from rich.console import Console

    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if narrow else _WIDE)


def print_json(value: object) -> None:
    """What a command gives with --json."""
    import json

    print(json.dumps(value, indent=2, allow_nan=False))
