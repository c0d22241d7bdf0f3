"""`cprspec search`: the nearest videos of a collection."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cprspec.cli_options import Json, Plugins, Registries, RunsFolder, check_paths, complete_run, print_json
from cprspec.errors import CprspecError, Place, Problem, clean, print_problems

if TYPE_CHECKING:
    from cprspec.runs.layout import RunDir
    from cprspec.weights.search import Answers

search_app = typer.Typer()


@search_app.command()
def search(
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="EXPORT|RUN",
            help="A folder that `cprspec export` wrote, or a run, whose last phase's encoder is taken.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ],
    queries: Annotated[
        list[Path], typer.Argument(metavar="QUERY...", help="Videos, and folders of videos.", show_default=False)
    ],
    collection: Annotated[
        Path,
        typer.Option(
            "--in", metavar="FILE|FOLDER", help="What `cprspec embed` wrote, or a folder of videos.", show_default=False
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many videos to find for each query.")] = 10,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also write a page with frames.")] = None,
    phase: Annotated[str | None, typer.Option(help="Of a run: whose encoder (default: the last phase's).")] = None,
    folder: RunsFolder = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bf16 where the machine gains from it.")] = "float32",
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Find the videos of a collection that are nearest to others, by an encoder's features."""
    _check_collection(collection, html)
    check_paths(queries, [] if html is None else [html])
    run = _run(encoder, folder, phase)
    # Only now torch: a wrong name is said at once.
    from cprspec.runs.files import atomic_write_text
    from cprspec.spec.registry import builtin_registry
    from cprspec.training.progress import filling
    from cprspec.weights.embed import load_encoder, load_run_encoder
    from cprspec.weights.embeddings import read_embeddings
    from cprspec.weights.gallery import page
    from cprspec.weights.search import check_maker
    from cprspec.weights.search import search as find

    indexed = None if collection.is_dir() else read_embeddings(collection)
    if run is None:
        loaded = load_encoder(Path(encoder), device, plugins or ())
    else:
        loaded = load_run_encoder(run, phase, builtin_registry(registries or (), plugins or ()), device, plugins or ())
    if indexed is not None:
        check_maker(loaded.card.maker, indexed, collection)
    with filling(words="decoding and encoding, step") as progress:
        if indexed is None:
            indexed = loaded.embed([collection], precision=precision, progress=progress)
        asked = loaded.embed(queries, precision=precision, progress=progress)
    print_problems([*indexed.warnings, *asked.warnings])
    answers = find(asked, indexed, top, collection)
    _say(answers, json)
    if html is not None:
        atomic_write_text(html, page(answers, loaded))
        print(f"wrote {clean(str(html))}", file=sys.stderr)


def _check_collection(collection: Path, html: Path | None) -> None:
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise CprspecError(Problem("a gallery is an HTML page", Place(str(html)), "end its name with .html"))
    if not collection.exists():
        hint = "cprspec embed EXPORT VIDEOS -o FILE.safetensors makes one"
        raise CprspecError(Problem("no such embedding file or folder", Place(str(collection)), hint))


def _say(answers: Answers, json: bool) -> None:
    from cprspec.weights.search import in_words

    print_json(answers.to_json()) if json else print("\n".join(clean(line) for line in in_words(answers)), flush=True)
    right, known = answers.right
    if known:
        print(f"the nearest video has the query's class for {right} of {known} queries", file=sys.stderr)


def _run(encoder: str, folder: Path, phase: str | None) -> RunDir | None:
    """The run that is meant; None if it is an exported encoder."""
    from cprspec.runs.layout import RunDir

    if not (Path(encoder) / "model.toml").is_file():
        return RunDir.find(encoder, folder)
    if phase is not None:
        raise CprspecError(Problem("an exported encoder is of one phase", Place("--phase"), "leave it out"))
    return None
