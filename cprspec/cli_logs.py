"""`cprspec logs`: a run's events in the form that spreadsheets and TensorBoard read."""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cprspec.cli_options import complete_run
from cprspec.errors import CprspecError, Problem, clean, print_problems

if TYPE_CHECKING:
    from cprspec.runs.events import Event

logs_app = typer.Typer()


class Form(StrEnum):
    """What the events are written as."""

    csv = "csv"
    tensorboard = "tensorboard"


@logs_app.command()
def logs(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A path, an experiment's name (the latest run), or an unambiguous beginning.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ],
    to: Annotated[Form, typer.Option("--to", help="Form of the events.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="csv: a file (default: standard output); tensorboard: a folder."
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="Only events of this kind, as step or epoch.")
    ] = None,
    folder: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")] = Path("runs"),
) -> None:
    """Write a run's events for spreadsheets (csv) or TensorBoard, without the steps that a later attempt made again."""
    from cprspec.runs.event_table import write_events
    from cprspec.runs.files import atomic_write_text
    from cprspec.runs.layout import RunDir
    from cprspec.runs.tail import read_events

    chosen = _kinds(kinds or ())
    found = RunDir.find(run, folder)
    events, damage = read_events(found.events)
    if damage.count:
        some = ", ".join(f"line {line} ({reason})" for line, reason in damage.lines[:3])
        print_problems([Problem(f"{found.events}: {damage.count} damaged lines: {some}", warning=True)])
    if to is Form.tensorboard:
        from cprspec.runs.tensorboard_log import write_log

        path, points = write_log(events, chosen, out or Path("tensorboard") / found.label)
        print(clean(str(path)), flush=True)
        print(f"{points} numbers; look at them with tensorboard --logdir {clean(str(path.parent))}", file=sys.stderr)
    elif out is None:
        write_events(events, chosen, sys.stdout)
    else:
        table = io.StringIO()
        lines = write_events(events, chosen, table)
        atomic_write_text(out, table.getvalue())
        print(clean(str(out)), flush=True)
        print(f"{lines} events", file=sys.stderr)


def _kinds(names: list[str] | tuple[str, ...]) -> list[type[Event]]:
    """Classes of events by the names in the log; all of them where none is named."""
    from cprspec.runs.events import EVENTS
    from cprspec.spec.words import did_you_mean, quoted

    known = {kind.kind: kind for kind in EVENTS}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise CprspecError([Problem(f"no event is of kind {quoted(n)}", None, did_you_mean(n, known)) for n in wrong])
    return [known[name] for name in dict.fromkeys(names)] or list(EVENTS)
