"""The commands: one short function each. Modules that cost time to import are imported inside the function.

stdout is data, stderr is talk. `main` is the one place where an error becomes a message and an exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cprspec import __version__
from cprspec.cli_bench import bench_app
from cprspec.cli_compare import compare, compare_app
from cprspec.cli_data import data_app
from cprspec.cli_figure import figure_app
from cprspec.cli_logs import logs_app
from cprspec.cli_mine import mine_app
from cprspec.cli_monitor import check_terminal, monitor_app
from cprspec.cli_options import Json, Overrides, Plugins, Registries, Roots, Spec, print_json, refuse_parents
from cprspec.cli_prepare import prepare_app
from cprspec.cli_report import report_app
from cprspec.cli_search import search_app
from cprspec.cli_submit import submit_app
from cprspec.cli_weights import weights_app
from cprspec.errors import CprspecError, Problem, clean, print_problems

if TYPE_CHECKING:
    from cprspec.spec.registry import Registry
    from cprspec.spec.schema import Resolved

app = typer.Typer(
    name="cprspec",
    help="Train video encoders without labels by mining positives.",
    rich_markup_mode=None,  # rich costs 0.1 s, and plain help is enough
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

app.add_typer(data_app, name="data")
data_app.add_typer(prepare_app)
app.add_typer(weights_app)
app.add_typer(mine_app)
app.add_typer(bench_app)
app.add_typer(monitor_app)
app.add_typer(report_app)
app.add_typer(search_app)
app.add_typer(compare_app)
app.add_typer(figure_app)
app.add_typer(logs_app)
app.add_typer(submit_app)


def _complete_kind(incomplete: str) -> list[str]:
    """Shell completion of a kind of component."""
    from cprspec.spec.registry import KIND_NAMES

    return [kind for kind in KIND_NAMES if kind.startswith(incomplete)]


def _complete_component(ctx: typer.Context, incomplete: str) -> list[str]:
    """Shell completion of a card of the kind before it."""
    from cprspec.spec.registry import builtin_registry

    names = builtin_registry().names(ctx.params.get("kind") or "")
    return [name for name in names if name.startswith(incomplete)]


Specs = Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Experiment files.", show_default=False)]
Data = Annotated[bool, typer.Option("--data", help="Look at the videos, too.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cprspec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train video encoders without labels by mining positives."""


@app.command()
def check(
    specs: Specs,
    data: Data = False,
    json: Json = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Say everything that is wrong with experiments, before anything runs."""
    from cprspec.spec.sweep import told_once
    from cprspec.spec.verdict import check_line, check_record

    registry = _registry(registries, plugins)
    records, failed = [], False
    for spec in specs:
        facts: list[dict[str, Any]] = []
        try:
            runs = () if _only_a_parent(spec, specs) else _resolve(spec, registry, overrides, roots)
            problems = told_once([(run.name, run.warnings) for run in runs])
            if data:
                facts, data_problems = _read_data(runs)
                problems += data_problems
        except CprspecError as error:
            runs, problems = (), list(error.problems)
        wrong = any(not p.warning for p in problems)
        failed = failed or wrong
        records.append(check_record(spec, runs, problems, facts))
        if not json:
            print_problems(problems)
            if not wrong:
                print(check_line(spec, runs, facts))
    if json:
        print_json(records)
    raise typer.Exit(2 if failed else 0)


@app.command()
def show(
    spec: Spec,
    data: Data = False,
    json: Json = False,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that shall share a batch; memory is that of each.")] = 1,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Print an experiment with every default filled in (stdout), and the plan of its phases (stderr); a sweep as a list."""
    from cprspec.spec.present import print_plan, print_sweep
    from cprspec.spec.sweep import told_once
    from cprspec.spec.toml import to_table, to_toml
    from cprspec.training.division import check_ranks

    runs = _resolve(spec, _registry(registries, plugins), overrides, roots)
    print_problems(told_once([(run.name, run.warnings) for run in runs]))
    for each in runs:
        check_ranks(each, nproc)
    facts, problems = _read_data(runs) if data else ([], [])
    print_problems(problems)
    if any(not p.warning for p in problems):
        raise typer.Exit(2)
    if len(runs) > 1:
        print_json({"runs": [to_table(run) for run in runs]}) if json else print_sweep(runs)
        return
    (resolved,) = runs
    # Only now torch, which takes seconds: what is wrong with an experiment is said at once.
    from cprspec.training.estimate import plan_record

    if json:
        print_json({"experiment": to_table(resolved), "plan": plan_record(resolved, facts, nproc)})
        return
    print(to_toml(resolved), end="", flush=True)
    print_plan(plan_record(resolved, facts, nproc))


@app.command()
def run(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC|RUN...", help="Experiment files, or runs to go on with.", show_default=False),
    ],
    folder: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")] = Path("runs"),
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    nnodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="The number of this machine, from 0.")] = 0,
    rdzv_endpoint: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where machines meet.")] = "",
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Go on from an earlier checkpoint where the newest is damaged.")
    ] = False,
    allow_world_size_change: Annotated[
        bool, typer.Option("--allow-world-size-change", help="Go on with another number of processes, not exactly.")
    ] = False,
    restarts: Annotated[int, typer.Option(min=0, help="Start again this often when a process dies.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and evaluate all, even what another run has.")] = False,
    tui: Annotated[bool, typer.Option("--tui", help="Open the monitor on the run, which goes on without it.")] = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Train and evaluate experiments, or go on with runs; several are compared at the end."""
    from cprspec.training.nodes import Nodes
    from cprspec.training.request import Request, read_requests

    nodes = Nodes(nproc=nproc, nnodes=nnodes, node_rank=node_rank, rdzv_endpoint=rdzv_endpoint, restarts=restarts)
    common = Request(
        spec=Path(),
        runs=folder,
        overrides=tuple(overrides or ()),
        roots=tuple(roots or ()),
        registries=tuple(registries or ()),
        plugins=tuple(plugins or ()),
        fresh=fresh,
        fallback=fallback,
        allow_world_size_change=allow_world_size_change,
    )
    refuse_parents(specs)
    wanted = read_requests(specs, common)
    if tui:
        check_terminal()
        from cprspec.tui.beside import run_beside

        raise typer.Exit(run_beside([word for word in sys.argv[1:] if word != "--tui"], folder))
    # Only now torch: what is wrong with an experiment is said at once.
    from cprspec.training.launch import launch_all

    code, done = launch_all(wanted, nodes)
    if len(done) > 1:
        compare([str(path) for path in done], folder)
    raise typer.Exit(code)


@app.command()
def components(
    kind: Annotated[
        str | None, typer.Argument(help="A kind of component.", autocompletion=_complete_kind, show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="One of this kind.", autocompletion=_complete_component, show_default=False)
    ] = None,
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """List what an experiment can choose: all kinds, one kind, or one component with its options."""
    from cprspec.spec.present import print_card, print_cards
    from cprspec.spec.registry import KIND_NAMES
    from cprspec.spec.words import did_you_mean, quoted

    registry = _registry(registries, plugins)
    if kind is not None and kind not in KIND_NAMES:
        raise CprspecError(
            Problem(f"no kind of component is called {quoted(kind)}", None, did_you_mean(kind, KIND_NAMES))
        )
    if kind is not None and name is not None:
        if registry.find(kind, name) is None:
            raise CprspecError(Problem(f"no {kind} is called {quoted(name)}", None, registry.suggest(kind, name)))
        card = registry.describe(kind, name)
        print_json(card) if json else print_card(card)
        return
    cards = [registry.describe(k, n) for k in ([kind] if kind else KIND_NAMES) for n in registry.names(k)]
    print_json(cards) if json else print_cards(cards)


def _registry(registries: list[Path] | None, plugins: list[Path] | None) -> Registry:
    from cprspec.spec.registry import builtin_registry

    return builtin_registry(registries or (), plugins or ())


def _resolve(
    spec: Path, registry: Registry, overrides: list[str] | None, roots: list[str] | None
) -> tuple[Resolved, ...]:
    from cprspec.spec.resolve import resolve_all
    from cprspec.spec.roots import parse_roots

    return resolve_all(spec, registry, overrides=overrides or (), roots=parse_roots(roots or []))


def _read_data(runs: Sequence[Resolved]) -> tuple[list[dict[str, Any]], list[Problem]]:
    from cprspec.spec.presence import read_facts
    from cprspec.video.store import cache_folder
    from cprspec.video.usable import usable_videos

    return read_facts(runs, cache_folder(), usable_videos)


def _only_a_parent(spec: Path, specs: list[Path]) -> bool:
    """Whether `spec` is a file for others to extend, caught by a pattern: `_x.toml` among several."""
    return spec.name.startswith("_") and len(specs) > 1


def main() -> NoReturn:
    """Run the command line; every expected failure is one line per problem and an exit code, never a traceback."""
    try:
        _main()
    except SystemExit as end:
        if "TORCHELASTIC_RUN_ID" in os.environ and isinstance(end.code, int):  # a rank that torchrun started
            from cprspec.processes import leave

            leave(end.code)
        raise


def _main() -> NoReturn:
    debug = "--debug" in sys.argv[1:]
    arguments = [a for a in sys.argv[1:] if a != "--debug"]  # so that it may stand anywhere
    try:
        app(args=arguments, prog_name="cprspec")
    except CprspecError as error:
        if debug:
            traceback.print_exc()
        print_problems(error.problems)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        print(f"cprspec failed: {type(error).__name__}: {clean(str(error))}", file=sys.stderr)
        print("this is a mistake in cprspec; --debug shows where", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
