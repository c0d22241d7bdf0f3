"""`cprspec tui`, `watch`, `status`, `stop`: looking at runs while they work, and asking one to stop. No torch."""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import Json, complete_run, print_json, table_console
from cprspec.errors import CprspecError, Problem, clean

monitor_app = typer.Typer()

HELP = "A path, an experiment's name (the latest run), or an unambiguous beginning."
Run = Annotated[
    str, typer.Argument(metavar="RUN", help=HELP, autocompletion=complete_run, show_default=False)
]  # fmt: skip
MaybeRun = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help=HELP, autocompletion=complete_run, show_default=False)
]  # fmt: skip
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")]
EXIT_FAILED = 1


@monitor_app.command()
def status(run: MaybeRun = None, folder: Runs = Path("runs"), json: Json = False) -> None:
    """Say how every run stands, or all about one."""
    from cprspec.runs.glance import Listing, glance
    from cprspec.runs.layout import RunDir
    from cprspec.runs.ranks import read_ranks
    from cprspec.runs.status import detail_lines, detail_record, print_statuses, status_record
    from cprspec.runs.summary import summarise

    if run is not None:
        problems: list[str] = []
        found = RunDir.find(run, folder)
        ranks = read_ranks(found, problems)
        record = detail_record(glance(found), summarise(found), ranks)
        record["problems"] += problems
        print_json({"schema": 1, "kind": "run-status", **record}) if json else print("\n".join(detail_lines(record)))
        return
    if not folder.is_dir():
        raise CprspecError(Problem(f"no folder {clean(str(folder))}", hint="name the folder of all runs with --runs"))
    glances = Listing(folder).look()
    if json:
        print_json({"schema": 1, "kind": "run-statuses", "runs": [status_record(glance) for glance in glances]})
        return
    if not glances:
        print(f"no runs in {clean(str(folder))}", file=sys.stderr)
        return
    print_statuses(glances, table_console())


@monitor_app.command()
def watch(
    run: Run,
    folder: Runs = Path("runs"),
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of the past to begin with.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Begin with the whole past.")] = False,
    json: Json = False,
) -> None:
    """Print what a run does, as plain lines (--json: its events), until it ends; exit code 1 if it failed or was killed."""
    from cprspec.runs.layout import RunDir
    from cprspec.runs.summary import read_status
    from cprspec.runs.telling import Narrator
    from cprspec.runs.watch import Caught, Preparing, Silence, preparing_words, silence_line
    from cprspec.runs.watch import watch as follow

    found = RunDir.find(run, folder)
    told, past, live, killed = Narrator(), deque[str](maxlen=None if everything else lines), False, False
    try:
        for news in follow(found):
            if isinstance(news, Caught):
                live = True
                print("".join(f"{line}\n" for line in past), end="", flush=True)
                continue
            if isinstance(news, Silence):
                killed = news.gone
                print(silence_line(news), file=sys.stderr, flush=True)
                continue
            if isinstance(news, Preparing):
                print(f"preparing videos {preparing_words((news.done, news.of))}", file=sys.stderr, flush=True)
                continue
            line = _json_line(news.to_json()) if json else told.line(news)
            if line is None:
                continue
            line = line if json else clean(line, 500)
            print(line, flush=True) if live else past.append(line)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if killed:
        print(f"go on with: cprspec run {found.path}", file=sys.stderr)
    if killed or read_status(found, []).state == "failed":
        raise typer.Exit(EXIT_FAILED)


@monitor_app.command()
def stop(run: Run, folder: Runs = Path("runs")) -> None:
    """Ask a running run to stop after its step; everything is saved, and it can be continued."""
    from cprspec.runs.layout import RunDir
    from cprspec.runs.stop import request_stop

    found = RunDir.find(run, folder)
    request_stop(found)
    print(f"asked {found.label} to stop after its step; watch it with: cprspec watch {found.path}", file=sys.stderr)


@monitor_app.command()
def tui(
    run: MaybeRun = None,
    folder: Runs = Path("runs"),
) -> None:
    """Watch runs in the terminal: curves, mining, comparison. Reads only; quitting never touches a run."""
    from cprspec.runs.layout import RunDir

    check_terminal()
    chosen: RunDir | None = None
    if run is not None and _holds_experiments(Path(run)):
        folder = Path(run)
    elif run is not None:
        chosen = RunDir(RunDir.find(run, folder).path.resolve())  # as the list below has it
        folder = chosen.path.parent.parent
    if not folder.is_dir():
        raise CprspecError(Problem(f"no folder {clean(str(folder))}", hint="name the folder of all runs with --runs"))
    from cprspec.tui.app import MonitorApp

    app = MonitorApp(folder, chosen)
    app.run()
    raise typer.Exit(app.return_code or 0)


def _holds_experiments(path: Path) -> bool:
    """Whether `path` is a folder of runs, and neither a run nor the folder of one experiment."""
    from cprspec.runs.layout import is_run

    return path.is_dir() and not is_run(path) and not any(map(is_run, path.glob("*")))


def check_terminal() -> None:
    """CprspecError where no screen can be drawn: Textual would wait for ever."""
    hint = "cprspec watch RUN prints plain lines anywhere, cprspec status --json says how runs stand"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CprspecError(Problem("the monitor needs a terminal, and this is none", hint=hint))
    if os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        name = clean(os.environ.get("TERM", ""), 40)
        raise CprspecError(
            Problem(f"the monitor needs a terminal that can be drawn on, and TERM is '{name}'", hint=hint)
        )


def _json_line(record: dict[str, object]) -> str:
    import json

    from cprspec.runs.files import finite

    return json.dumps(finite(record), allow_nan=False)
