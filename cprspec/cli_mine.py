"""`cprspec mine`: other miners over what a run recorded of its last mined epoch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import Json, Plugins, Registries, Run, RunsFolder, print_json, table_console
from cprspec.errors import CprspecError, Problem, print_problems

mine_app = typer.Typer()


@mine_app.command()
def mine(
    run: Run,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="miner.KEY=[A,B]", help="Values of a miner's option; several are combined."),
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Which phase (default: the last that mines).")] = None,
    folder: RunsFolder = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: where the phase was trained.")] = "auto",
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Mine a run's last epoch again with other miners, encoders held fixed: precision, CMR and funnel in seconds."""
    from cprspec.runs.layout import RunDir
    from cprspec.spec.grid import read_plan
    from cprspec.spec.registry import builtin_registry

    if device not in ("auto", "cpu", "cuda"):
        raise CprspecError(Problem("--device is one of cpu, cuda, auto"))
    if json and csv:
        raise CprspecError(Problem("--json and --csv are two forms of one table", hint="choose one of them"))
    found = RunDir.find(run, folder)
    plan = read_plan(found.resolved, builtin_registry(registries or (), plugins or ()), phase, grid or ())
    # Only now torch: what is wrong with a grid is said at once.
    from cprspec.training.laboratory import experiment
    from cprspec.training.progress import filling

    with filling(words="mining, step") as progress:
        laboratory = experiment(found, plan, device, progress)
    if json:
        print_json(laboratory.to_json())
    else:
        from cprspec.training.laboratory_text import print_table, write_csv

        write_csv(laboratory, sys.stdout) if csv else print_table(laboratory, table_console())
    print("\n".join(laboratory.lines()), file=sys.stderr)
    print_problems(laboratory.problems)
    raise typer.Exit(1 if laboratory.problems else 0)
