"""The report's figures, as SVG within the page; without matplotlib the page says what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from cprspec.errors import CprspecError
from cprspec.runs.figures import KINDS, module_of
from cprspec.runs.report.page import picture
from cprspec.runs.summary import PhaseSummary, RunSummary

OF_ONE_RUN = ("embedding", "confusion")


@frozen
class Drawing:
    """A picture's address within the page, what it is for those who do not see it, and the line below it."""

    source: str
    alt: str
    caption: str
    narrow: bool
    """Made for one column of a paper."""


def drawings(runs: Sequence[RunSummary]) -> tuple[tuple[Drawing, ...], tuple[str, ...]]:
    """Every figure that the runs have the data for, and why others of those cannot be drawn."""
    found: list[Drawing] = []
    reasons: list[str] = []
    for kind, phase, of in _wanted(runs):
        options = {} if phase is None else {"phase": phase}
        try:
            content, _ = module_of("style").to_bytes(module_of(kind).draw(of, **options), "svg")
        except CprspecError as error:
            reasons += [str(problem) for problem in error.problems]
            continue
        where = f", phase {phase}" if phase else ""
        which = f", run {of[0].run.label}" if kind in OF_ONE_RUN else ""
        shows = f"{KINDS[kind]}{where}{which}"
        found.append(
            Drawing(
                picture(content, "svg+xml"), f"Figure: {shows}", f"{shows[:1].upper()}{shows[1:]}.", kind in OF_ONE_RUN
            )
        )
    return tuple(found), tuple(dict.fromkeys(reasons))


def _wanted(runs: Sequence[RunSummary]) -> Iterator[tuple[str, str | None, list[RunSummary]]]:
    """Kind, phase and runs of each figure: what mining gave once for each phase, of the runs that mined in it.

    What is about one run is drawn of the first that has it.
    """
    mined = list(dict.fromkeys(phase.name for run in runs for phase in run.phases if _picked(phase)))
    for phase in mined:
        having = [run for run in runs if any(p.name == phase and _picked(p) for p in run.phases)]
        yield "cmr", phase, having
        yield "funnel", phase, having
    yield "curves", None, list(runs)
    recorded = [(phase, run) for phase in reversed(mined) for run in runs if run.run.replay(phase).is_file()]
    judged = [run for run in runs if any(facts.get("confusion") for facts in run.evaluations.values())]
    for phase, run in recorded[:1]:
        yield "embedding", phase, [run]
    for run in judged[:1]:
        yield "confusion", None, [run]


def _picked(phase: PhaseSummary) -> bool:
    return bool(phase.table and phase.table.get("picks"))
