"""`cprspec bench`: how fast the parts of a run are on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from cprspec.cli_options import Json, Overrides, Plugins, Registries, Roots, Spec, print_json
from cprspec.errors import CprspecError, Problem, print_problems

bench_app = typer.Typer(name="bench", help="How fast the parts of a run are on this machine.", no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """How fast the parts of a run are on this machine."""


@bench_app.command("data")
def bench_data(
    spec: Spec,
    phase: Annotated[str | None, typer.Option(help="Which phase (default: the one that reads most clips).")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each part is measured, seconds.")] = 4.0,
    model: Annotated[bool, typer.Option("--model/--no-model", help="Measure what the device takes, too.")] = True,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say how many clips a second come from the videos and how many the device takes, which side waits, and what to change."""
    from cprspec.spec.registry import builtin_registry
    from cprspec.spec.resolve import resolve_all
    from cprspec.spec.roots import parse_roots

    registry = builtin_registry(registries or (), plugins or ())
    runs = resolve_all(spec, registry, overrides=overrides or (), roots=parse_roots(roots or []))
    resolved = runs[0]
    names = [p.name for p in resolved.phases]
    if phase is not None and phase not in names:
        raise CprspecError(Problem(f"no phase is called '{phase}'", hint=f"there are {', '.join(names)}"))
    # Only now torch: what is wrong with an experiment is said at once.
    from cprspec.training.progress import filling
    from cprspec.training.supply_bench import lines, measure

    with filling() as progress:
        found = measure(resolved, phase, seconds, model=model, progress=progress)
    if json:
        print_json(found)
        return
    print("\n".join(lines(found)))
    print_problems(Problem(text, warning=True) for text in found["notes"])
