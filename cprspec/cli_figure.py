"""`cprspec figure`: a picture of runs as PDF, SVG or PNG."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from cprspec.cli_options import complete_run
from cprspec.errors import CprspecError, Problem, clean, print_problems
from cprspec.runs.figures import KINDS, module_of

figure_app = typer.Typer()


class Unit(StrEnum):
    """What CMR counts."""

    source = "source"
    video = "video"


def _complete_figure(incomplete: str) -> list[str]:
    """Shell completion of a kind of figure."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


@figure_app.command()
def figure(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=", ".join(KINDS) + ".", autocompletion=_complete_figure, show_default=False
        ),
    ],
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="As for compare; stages: also a file of mine --json; embedding: also a file that embed wrote.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="FILE.pdf, FILE.svg or FILE.png.")],
    folder: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")] = Path("runs"),
    columns: Annotated[
        int | None, typer.Option(min=1, max=2, help="Columns of a paper that it fills (default: by kind).")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="cmr, curves, funnel, embedding: which phase.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="cmr, stages: what CMR counts (default: source).")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="curves: what to draw by epoch, several are panels; stages: any figure."),
    ] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="KEY", help="stages: the key across.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="KEY", help="stages: the key down.")] = None,
    encoder: Annotated[str | None, typer.Option(help="stages, confusion: whose.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="confusion: which evaluation.")] = None,
    dataset: Annotated[str | None, typer.Option(help="confusion: on which data set.")] = None,
) -> None:
    """Draw runs for a paper or a report; seeds of one experiment as one."""
    from cprspec.spec.words import did_you_mean, quoted

    if kind not in KINDS:
        raise CprspecError(Problem(f"no figure is called {quoted(kind)}", None, did_you_mean(kind, KINDS)))
    given = {
        "phase": phase, "unit": unit and unit.value, "metric": metric, "x": x, "y": y, "encoder": encoder,
        "evaluation": evaluation, "dataset": dataset,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    module = module_of(kind)
    _check_options(kind, options, module.OPTIONS)
    from cprspec.runs.figures.style import form_of, save

    form_of(out)
    options |= {} if columns is None else {"columns": columns}
    drawn = _draw(module, runs, folder, options)
    print_problems(save(drawn, out))
    print(clean(str(out)))


def _draw(module: ModuleType, runs: list[str], folder: Path, options: dict[str, Any]) -> Any:
    """The figure of a file, where one of the module's kind is named, otherwise of runs."""
    from cprspec.runs.layout import RunDir
    from cprspec.runs.summary import summarise

    first = Path(runs[0])
    if first.suffix in getattr(module, "FILES", ()):
        if len(runs) > 1:
            raise CprspecError(Problem("a figure is of one file, or of runs"))
        return module.draw_file(first, **options)
    summaries = [summarise(RunDir.find(run, folder)) for run in dict.fromkeys(runs)]
    print_problems(Problem(text, warning=True) for summary in summaries for text in summary.problems)
    return module.draw(summaries, **options)


def _check_options(kind: str, given: dict[str, Any], taken: tuple[str, ...]) -> None:
    wrong = [name for name in given if name not in taken]
    if wrong:
        hint = f"it takes {', '.join(f'--{name}' for name in taken)}"
        raise CprspecError([Problem(f"figure {kind} has no --{name}", hint=hint) for name in wrong])
