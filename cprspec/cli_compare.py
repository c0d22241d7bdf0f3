"""`cprspec compare`: runs side by side, on the screen, as JSON, CSV or Markdown, or as a condition."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cprspec.cli_options import Json, Runs, RunsFolder, print_json, table_console
from cprspec.errors import CprspecError, Problem, print_problems

if TYPE_CHECKING:
    from cprspec.runs.comparison import Comparison
    from cprspec.runs.metrics import Threshold

compare_app = typer.Typer()


@compare_app.command()
def compare(
    runs: Runs,
    folder: RunsFolder = Path("runs"),
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="This figure alone, class by class where it is known; several."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ENCODER:]METRIC=VALUE",
            help="End with 1 if a group's mean is under it: of ENCODER, or of the last phase that has the metric.",
        ),
    ] = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row for each figure.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Put runs side by side: what they mined and found, and which classes one won; seeds of one experiment as one."""
    from cprspec.runs.compare import compare as put_side_by_side
    from cprspec.runs.layout import RunDir
    from cprspec.runs.metrics import Threshold, only
    from cprspec.runs.summary import summarise

    if json + csv + markdown > 1:
        message = "--json, --csv and --markdown are forms of one comparison"
        raise CprspecError(Problem(message, hint="choose one of them"))
    thresholds = [Threshold.read(text) for text in fail_under or ()]
    found = dict.fromkeys(RunDir.find(run, folder) for run in runs)
    comparison = put_side_by_side([summarise(run) for run in found])
    _check_names(comparison, metrics or (), thresholds)
    shown = only(comparison, metrics) if metrics else comparison
    if json:
        print_json(shown.to_json())
    elif csv:
        from cprspec.runs.compare_csv import write_csv

        write_csv(shown, sys.stdout)
    else:
        _print_tables(shown, markdown=markdown, every_class=bool(metrics))
    if not json:
        print_problems(Problem(text, warning=True) for text in comparison.problems)
    missed = [line for threshold in thresholds for line in threshold.missed(comparison)]
    print_problems(Problem(line) for line in missed)
    if missed:
        raise typer.Exit(1)


def _print_tables(comparison: Comparison, *, markdown: bool, every_class: bool) -> None:
    from cprspec.runs.columns import markdown as as_markdown
    from cprspec.runs.compare_tables import print_comparison, tables

    if markdown:
        print(as_markdown(tables(comparison, every_class=every_class)), end="")
    else:
        print_comparison(comparison, table_console(), every_class=every_class)


def _check_names(comparison: Comparison, metrics: Sequence[str], thresholds: Sequence[Threshold]) -> None:
    """CprspecError where none of the runs has a metric that was asked for, or an encoder with it."""
    from cprspec.runs.metrics import every_figure, known_metrics
    from cprspec.spec.words import did_you_mean, quoted

    known = known_metrics(comparison)
    wrong = [m for m in dict.fromkeys([*metrics, *(t.metric for t in thresholds)]) if m not in known]
    problems = [Problem(f"no run has a metric {quoted(m)}", None, did_you_mean(m, known)) for m in wrong]
    for threshold in thresholds:
        encoders = dict.fromkeys(f.encoder for f in every_figure(comparison) if f.metric == threshold.metric)
        if threshold.encoder and encoders and threshold.encoder not in encoders:
            message = f"no run has {quoted(threshold.metric)} of an encoder {quoted(threshold.encoder)}"
            problems.append(Problem(message, None, did_you_mean(threshold.encoder, encoders)))
    if problems:
        raise CprspecError(problems)
