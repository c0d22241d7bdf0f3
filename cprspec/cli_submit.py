"""`cprspec submit`: a run as a job of Slurm, that goes back into the queue and goes on until it is finished. No torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import Overrides, Plugins, Registries, Roots, RunsFolder, refuse_parents
from cprspec.errors import CprspecError, clean, print_problems

submit_app = typer.Typer()


@submit_app.command()
def submit(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC|RUN", help="An experiment file, or a run to go on with.", show_default=False)
    ],
    folder: RunsFolder = Path("runs"),
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs on each machine, a process for each; 0: on the CPU.")] = 1,
    nproc: Annotated[
        int | None, typer.Option(min=1, help="Processes on each machine, with --gpus 0.", show_default="1")
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(
            "--cpus-per-task", min=1, help="Cores on each machine.", show_default="what processes and workers need"
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Time limit, as sbatch has it; the job comes again after it.", show_default=False)
    ] = None,
    notice: Annotated[
        int, typer.Option(min=1, max=65535, metavar="SECONDS", help="Stop and save so long before the time is over.")
    ] = 120,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.", show_default=False)] = None,
    account: Annotated[str | None, typer.Option(help="Slurm's account.", show_default=False)] = None,
    qos: Annotated[str | None, typer.Option(help="Slurm's quality of service.", show_default=False)] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch", metavar="OPTION", help="Any other option of sbatch, as in --sbatch=--constraint=a100."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the file (stdout) and make nothing.")] = False,
    allow_world_size_change: Annotated[
        bool, typer.Option("--allow-world-size-change", help="Go on with another number of processes, not exactly.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train and evaluate all, even what another run has.")] = False,
    overrides: Overrides = None,
    roots: Roots = None,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Submit a run to Slurm (stdout: the job's number). Pre-empted or out of time, it is queued again and goes on."""
    from cprspec.training.request import Request, read_requests
    from cprspec.training.slurm import Wish, check_sbatch
    from cprspec.training.submission import prepare
    from cprspec.training.submission import submit as hand_in

    common = Request(
        spec=Path(), runs=folder.absolute(), overrides=tuple(overrides or ()), roots=tuple(roots or ()),
        registries=tuple(path.absolute() for path in registries or ()),
        plugins=tuple(path.absolute() for path in plugins or ()),
        fresh=fresh, allow_world_size_change=allow_world_size_change,
    )  # fmt: skip
    wish = Wish(
        nodes=nodes, gpus=gpus, nproc=nproc, cpus=cpus, time=time, notice_s=notice, partition=partition,
        account=account, qos=qos, extra=tuple(extra or ()),
    )  # fmt: skip
    refuse_parents([spec])
    jobs, problems = prepare(read_requests([spec], common), wish)
    if any(not problem.warning for problem in problems):
        raise CprspecError(problems)
    print_problems(problems)
    if dry_run:
        print("\n".join(job.text(job.example()) for job in jobs), end="")
        print("nothing was made or submitted; the number of a new run is an example", file=sys.stderr)
        return
    check_sbatch()
    for job in jobs:
        run, number = hand_in(job)
        print(number, flush=True)
        print(f"job {clean(number)} trains {run.path}; watch it with: cprspec watch {run.path}", file=sys.stderr)
