"""`cprspec bench`: how fast the parts of a run are on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cprspec.cli_options import Json, Overrides, Plugins, Registries, Roots, Spec, print_json
from cprspec.errors import CprspecError, Problem, print_problems

if TYPE_CHECKING:
    from cprspec.spec.schema import Phase, Resolved

bench_app = typer.Typer(name="bench", help="How fast the parts of a run are on this machine.", no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """How fast the parts of a run are on this machine."""


PhaseName = Annotated[str | None, typer.Option("--phase", metavar="PHASE", help="Which phase.")]
Videos = Annotated[
    int, typer.Option(min=1, help="How many training videos there are (default: as in UCF101, split 1).")
]


@bench_app.command("data")
def bench_data(
    spec: Spec,
    phase: PhaseName = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each part is measured, seconds.")] = 4.0,
    model: Annotated[bool, typer.Option("--model/--no-model", help="Measure what the device takes, too.")] = True,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say how many clips a second come from the videos and how many the device takes, which side waits, and what to change.

    Of the phase that reads most clips, unless --phase names another.
    """
    resolved, chosen = _resolve(spec, phase, overrides, roots, registries, plugins)
    # Only now torch: what is wrong with an experiment is said at once.
    from cprspec.training.progress import filling
    from cprspec.training.supply_bench import lines, measure

    with filling() as progress:
        found = measure(resolved, chosen.name if chosen else None, seconds, model=model, progress=progress)
    _tell(found, lines, json)


@bench_app.command("step")
def bench_step(
    spec: Spec,
    phase: PhaseName = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long steps are measured; three at least.")] = 10.0,
    videos: Videos = 9537,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say where the time of a training step goes, how near it is to what the machine can do, and which setting changes it.

    Of the last phase that mines, unless --phase names another; on clips of noise, without data.
    """
    resolved, chosen = _resolve(spec, phase, overrides, roots, registries, plugins)
    from cprspec.training.progress import filling
    from cprspec.training.step_bench import lines, measure

    with filling(words="measuring step") as progress:
        found = measure(resolved, chosen or _last(resolved), videos, seconds, progress)
    _tell(found, lines, json)


@bench_app.command("mine")
def bench_mine(
    spec: Spec,
    phase: PhaseName = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long mining is measured, and a step.")] = 10.0,
    videos: Videos = 9537,
    model: Annotated[bool, typer.Option("--model/--no-model", help="Measure a whole step, too.")] = True,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say how long mining takes for banks and stages of several sizes, and what share of a training step that is.

    Of the last phase that mines, unless --phase names another; without data.
    """
    resolved, chosen = _resolve(spec, phase, overrides, roots, registries, plugins)
    from cprspec.training.mine_bench import lines, measure
    from cprspec.training.progress import filling

    with filling(words="measuring case") as progress:
        found = measure(resolved, chosen or _last(resolved), videos, seconds, model=model, progress=progress)
    _tell(found, lines, json)


@bench_app.command("search")
def bench_search(
    spec: Spec,
    phase: PhaseName = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long it is measured; three searches at least.")] = 4.0,
    videos: Videos = 9537,
    queries: Annotated[int, typer.Option(min=1, help="How many videos ask (default: as in UCF101, split 1).")] = 3783,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say how long an exact search for the nearest videos takes, and what limits it.

    With features of the last phase that mines, unless --phase names another; without data.
    """
    resolved, chosen = _resolve(spec, phase, overrides, roots, registries, plugins)
    from cprspec.evaluation.search_bench import lines, measure

    _tell(measure(resolved, chosen or _last(resolved), videos, queries, seconds), lines, json)


def _resolve(
    spec: Path,
    phase: str | None,
    overrides: list[str] | None,
    roots: list[str] | None,
    registries: list[Path] | None,
    plugins: list[Path] | None,
) -> tuple[Resolved, Phase | None]:
    """The experiment, the first of a sweep, and the phase that was named."""
    from cprspec.spec.registry import builtin_registry
    from cprspec.spec.resolve import resolve_all
    from cprspec.spec.roots import parse_roots

    registry = builtin_registry(registries or (), plugins or ())
    resolved = resolve_all(spec, registry, overrides=overrides or (), roots=parse_roots(roots or []))[0]
    names = [p.name for p in resolved.phases]
    if phase is not None and phase not in names:
        raise CprspecError(Problem(f"no phase is called '{phase}'", hint=f"there are {', '.join(names)}"))
    return resolved, None if phase is None else resolved.phase(phase)


def _last(resolved: Resolved) -> Phase:
    """The last phase that mines, or the last."""
    return ([p for p in resolved.phases if p.miner is not None] or [*resolved.phases])[-1]


def _tell(found: dict[str, Any], lines: Callable[[dict[str, Any]], list[str]], json: bool) -> None:
    if json:
        print_json(found)
        return
    print("\n".join(lines(found)))
    print_problems(Problem(text, warning=True) for text in found.get("notes", ()))
