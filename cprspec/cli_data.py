"""`cprspec data`: what data sets expect, what of them is there, and whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import Json, Plugins, Registries, print_json
from cprspec.errors import print_problems

data_app = typer.Typer(help="Data sets: what they expect, and what of them is there.", no_args_is_help=True)


def _complete_dataset(incomplete: str) -> list[str]:
    """Shell completion of a card of a data set."""
    from cprspec.spec.registry import builtin_registry

    return [name for name in builtin_registry().names("dataset") if name.startswith(incomplete)]


@data_app.callback()
def _data() -> None:
    """Data sets: what they expect, and what of them is there."""


@data_app.command("describe")
def describe_data(
    name: Annotated[
        str, typer.Argument(help="A data set's card.", autocompletion=_complete_dataset, show_default=False)
    ],
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Look what is there.", show_default=False)
    ] = None,
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say what a data set expects under its root and where people get it; with --root, what is missing there."""
    from cprspec.data.describe import describe, lines
    from cprspec.spec.registry import builtin_registry

    record, problems = describe(builtin_registry(registries or (), plugins or ()), name, root)
    if json:
        print_json(record)
    else:
        print("\n".join(lines(record)))
        print_problems(problems)
    raise typer.Exit(2 if any(not p.warning for p in problems) else 0)
