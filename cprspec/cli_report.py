"""`cprspec report`: runs as one page that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cprspec.cli_options import Runs, RunsFolder
from cprspec.errors import CprspecError, Place, Problem, clean, print_problems

report_app = typer.Typer()


@report_app.command()
def report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.html", help="The page.")] = Path("report.html"),
    folder: RunsFolder = Path("runs"),
) -> None:
    """Write what runs were, found and mined as one HTML page that needs no network: tables, figures, mined clips."""
    from cprspec.runs.files import atomic_write_text
    from cprspec.runs.layout import RunDir

    if out.suffix.lower() not in (".html", ".htm"):
        raise CprspecError(Problem("a report is an HTML page", Place(clean(str(out))), "end its name with .html"))
    found = list(dict.fromkeys(RunDir.find(run, folder) for run in runs))
    from cprspec.runs.report.content import page

    text, problems = page(found)
    atomic_write_text(out, text)
    print_problems(Problem(problem, warning=True) for problem in problems)
    print(clean(str(out)))
