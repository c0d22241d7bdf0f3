"""The commands for weights: import of published checkpoints, export of a run's encoder, embeddings by an exported one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import (
    Force,
    Json,
    Plugins,
    Registries,
    Run,
    RunsFolder,
    check_paths,
    print_json,
    refuse_to_replace,
)
from cprspec.errors import CprspecError, Place, Problem, clean, print_problems

weights_app = typer.Typer()


@weights_app.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Where our tensors go.", show_default=False)],
    part: Annotated[
        str | None, typer.Option(help="Which network of a CoCLR or CPR checkpoint: encoder_q, encoder_k, sampler.")
    ] = None,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Beginning of our names that may stay unfilled: 2. and 4. are the head."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Turn a checkpoint of others into safetensors that a phase can start from, saying what became of each tensor."""
    refuse_to_replace([out], force)
    from cprspec.weights.importing import import_weights as read

    imported = read(file, part, allow_missing or ())
    imported.save(out)
    if json:
        print_json(imported.record())
        return
    print("\n".join(imported.lines()), flush=True)
    print("\n".join([*imported.summary(), f"wrote {clean(str(out))}"]), file=sys.stderr)


@weights_app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The new folder.", show_default=False)],
    phase: Annotated[str | None, typer.Option(help="Whose encoder (default: the last phase's).")] = None,
    view: Annotated[str | None, typer.Option(help="Which of its views it will be shown (default: the first).")] = None,
    folder: RunsFolder = Path("runs"),
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Write a phase's encoder as a folder that stands alone: safetensors and a model card."""
    from cprspec.runs.layout import RunDir
    from cprspec.spec.registry import builtin_registry

    found = RunDir.find(run, folder)
    registry = builtin_registry(registries or (), plugins or ())
    # Only now torch: a wrong name is said at once.
    from cprspec.weights.export import export_run

    exported = export_run(found, phase, out, registry, view)
    print_problems(exported.warnings)
    print_json(exported.table) if json else print(clean(str(exported.folder)), flush=True)
    print(clean(exported.what), file=sys.stderr)


@weights_app.command()
def embed(
    export: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="A folder that `cprspec export` wrote.", show_default=False)
    ],
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Videos, and folders of videos.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The safetensors file; a .csv goes beside it.")
    ],
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bf16 where the machine gains from it.")] = "float32",
    force: Force = False,
    plugins: Plugins = None,
) -> None:
    """Features of videos by an exported encoder, as safetensors [V,F], and a CSV of the paths."""
    _check_export(export)
    if out.suffix == ".csv":
        raise CprspecError(
            Problem("the table of paths is called so", Place(str(out)), "end the name with .safetensors")
        )
    files = [out, out.with_suffix(".csv")]
    refuse_to_replace(files, force)
    check_paths(paths, files)
    # Only now torch: a wrong name is said at once.
    from cprspec.training.progress import filling
    from cprspec.weights.embed import load_encoder

    encoder = load_encoder(export, device, plugins or ())
    with filling(words="decoding and encoding, step") as progress:
        embeddings = encoder.embed(paths, precision=precision, progress=progress)
    print_problems(embeddings.warnings)
    for written in embeddings.save(out):
        print(clean(str(written)))


def _check_export(folder: Path) -> None:
    """CprspecError where `folder` is no exported encoder, with the command that makes one."""
    from cprspec.runs.layout import is_run

    if (folder / "model.toml").exists():
        return
    if is_run(folder):
        hint = f"cprspec export {folder} -o DIR writes its encoder, and embed takes DIR"
        raise CprspecError(Problem("a run, not an exported encoder", Place(str(folder)), hint))
    what = "not an exported encoder: it has no model.toml" if folder.is_dir() else "no such folder"
    raise CprspecError(Problem(what, Place(str(folder)), "cprspec export RUN -o DIR writes one"))
