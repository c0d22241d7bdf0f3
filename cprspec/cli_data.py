"""`cprspec data`: what data sets expect, what of them is there, and whether it is sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cprspec.cli_options import Json, Plugins, Registries, print_json
from cprspec.errors import CprspecError, Place, Problem, print_problems

if TYPE_CHECKING:
    from cprspec.data.collections import Collection

_MAKE = "make one with `cprspec data index`"

data_app = typer.Typer(help="Data sets: what they expect, and what of them is there.", no_args_is_help=True)


def _complete_dataset(incomplete: str) -> list[str]:
    """Shell completion of a card of a data set."""
    from cprspec.spec.registry import builtin_registry

    return [name for name in builtin_registry().names("dataset") if name.startswith(incomplete)]


Target = Annotated[
    str,
    typer.Argument(
        metavar="NAME|SPEC",
        help="A data set's card, or an experiment file for all of its data sets.",
        autocompletion=_complete_dataset,
        show_default=False,
    ),
]
Roots = Annotated[
    list[str] | None,
    typer.Option("--root", metavar="[NAME=]DIR", help="Where the videos lie; NAME where an experiment has several."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes (default: one for each core).", show_default=False)
]


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


@data_app.command("index")
def index_data(
    target: Target,
    roots: Roots = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="INDEX", help="The index file (default: in the user's cache folder).", show_default=False
        ),
    ] = None,
    digest: Annotated[bool, typer.Option(help="Record a sha256 of each file.")] = True,
    retry: Annotated[bool, typer.Option("--retry", help="Look at bad files again, changed or not.")] = False,
    workers: Workers = None,
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Decode every frame of every file once, and record what is there and what is bad; then again only what changed."""
    from cprspec.data.index_file import default_index
    from cprspec.training.progress import filling
    from cprspec.video.index_text import made_lines, made_record
    from cprspec.video.indexing import make_index_file
    from cprspec.video.store import cache_folder

    records, usable = [], True
    for collection in _collections(target, roots, registries, plugins, output):
        entries = collection.listed()
        file = output or default_index(collection.root, cache_folder())
        try:
            with filling(words=f"indexing {collection.name}") as progress:
                made = make_index_file(
                    entries, collection.root, file, collection.name,
                    digest=digest, retry=retry, processes=workers, progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on where it was", file=sys.stderr)
            raise typer.Exit(130) from None
        usable = usable and made.usable > 0
        records.append(made_record(collection.name, made))
        if not json:
            print("\n".join(made_lines(collection.name, made)))
    if json:
        print_json(records)
    raise typer.Exit(0 if usable else 1)


@data_app.command("check")
def check_data(
    target: Target,
    roots: Roots = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="INDEX", help="The index file (default: as of `index`).", show_default=False),
    ] = None,
    content: Annotated[
        bool, typer.Option(help="Read every file; --no-content compares sizes and times of change alone.")
    ] = True,
    workers: Workers = None,
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Compare the files with their index: changed, missing, new, damaged in silence. Exit code 1 if something is lost."""
    from cprspec.data.index_file import IndexFile, default_index
    from cprspec.training.progress import filling
    from cprspec.video.checking import check_collection
    from cprspec.video.index_text import checked_lines, checked_record
    from cprspec.video.store import cache_folder

    records, harmed = [], False
    for collection in _collections(target, roots, registries, plugins, index):
        file = index or default_index(collection.root, cache_folder())
        if not file.exists():
            raise CprspecError(Problem(f"there is no index of '{collection.name}'", Place(str(file)), _MAKE))
        try:
            entries = collection.listed()
        except CprspecError as error:  # files that are named and gone are told by the index, too
            entries = None
            print_problems(error.problems)
        with IndexFile.open(file) as records_of, filling(words=f"checking {collection.name}") as progress:
            checked = check_collection(
                entries, collection.root, records_of, content=content, processes=workers, progress=progress
            )
        harmed = harmed or checked.harmed
        records.append(checked_record(collection.name, file, checked))
        if not json:
            print("\n".join(checked_lines(collection.name, file, checked)))
    if json:
        print_json(records)
    raise typer.Exit(1 if harmed else 0)


def _collections(
    target: str,
    roots: list[str] | None,
    registries: list[Path] | None,
    plugins: list[Path] | None,
    one_file: Path | None,
) -> tuple[Collection, ...]:
    """What a command is about. CprspecError if several collections are to share `one_file`."""
    from cprspec.data.collections import find_collections
    from cprspec.spec.registry import builtin_registry

    found = find_collections(target, builtin_registry(registries or (), plugins or ()), roots or [])
    if one_file is not None and len(found) > 1:
        message = f"{len(found)} collections cannot have one index"
        raise CprspecError(Problem(message, Place(str(one_file)), "name them one by one, or leave the file out"))
    return found
