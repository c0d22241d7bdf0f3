"""`cprspec figure`: a picture of runs as PDF, SVG or PNG."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cprspec.cli_options import complete_run
from cprspec.errors import CprspecError, Problem, clean, print_problems

figure_app = typer.Typer()


class Unit(StrEnum):
    """What CMR counts."""

    source = "source"
    video = "video"


def _complete_figure(incomplete: str) -> list[str]:
    """Shell completion of a kind of figure."""
    from cprspec.runs.figures import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


@figure_app.command()
def figure(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="cmr, curves or funnel.", autocompletion=_complete_figure, show_default=False
        ),
    ],
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Paths (runs/NAME/* is every seed), names of experiments (the latest run), or unambiguous beginnings.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="FILE.pdf, FILE.svg or FILE.png.")],
    folder: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")] = Path("runs"),
    columns: Annotated[int, typer.Option(min=1, max=2, help="Columns of a paper that it fills.")] = 2,
    phase: Annotated[str | None, typer.Option(help="cmr, curves, funnel: which phase.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="cmr: what CMR counts (default: source).")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="curves: what to draw by epoch; several are panels.")
    ] = None,
) -> None:
    """Draw runs for a paper or a report; seeds of one experiment as one."""
    from cprspec.runs.figures import KINDS, module_of
    from cprspec.runs.layout import RunDir
    from cprspec.runs.summary import summarise
    from cprspec.spec.words import did_you_mean, quoted

    if kind not in KINDS:
        raise CprspecError(Problem(f"no figure is called {quoted(kind)}", None, did_you_mean(kind, KINDS)))
    given = {"phase": phase, "unit": unit and unit.value, "metric": metric}
    options = {name: value for name, value in given.items() if value is not None}
    found = [RunDir.find(run, folder) for run in dict.fromkeys(runs)]
    module = module_of(kind)
    _check_options(kind, options, module.OPTIONS)
    from cprspec.runs.figures.style import form_of, save

    form_of(out)
    summaries = [summarise(run) for run in found]
    print_problems(Problem(text, warning=True) for summary in summaries for text in summary.problems)
    print_problems(save(module.draw(summaries, columns=columns, **options), out))
    print(clean(str(out)))


def _check_options(kind: str, given: dict[str, Any], taken: tuple[str, ...]) -> None:
    wrong = [name for name in given if name not in taken]
    if wrong:
        hint = f"it takes {', '.join(f'--{name}' for name in taken)}"
        raise CprspecError([Problem(f"figure {kind} has no --{name}", hint=hint) for name in wrong])
