"""What evaluations say about the rest of an experiment, checked before anything runs: encoders, data sets, official splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from attrs import frozen

from cprspec.errors import Place, Problem
from cprspec.spec.compose import Composed
from cprspec.spec.encoders import PhaseViews, encoder_names, phases_of, views_seen
from cprspec.spec.kinds import Dataset, Evaluator
from cprspec.spec.schema import RANDOM
from cprspec.spec.splits import same_but_split
from cprspec.spec.words import did_you_mean, quoted


def check_evaluations(
    composed: Composed,
    views: PhaseViews,
    trained_on: Set[str],
    evaluate: Mapping[str, Evaluator],
    datasets: Mapping[str, Dataset],
) -> list[Problem]:
    """Every check of evaluations. `views` are those of all phases, none where a phase could not be read.

    `trained_on` names the data sets that phases learn from; `evaluate` and `datasets` have what could be read.
    """
    evaluations = _Evaluations(composed, views, trained_on, evaluate, datasets)
    checks = (_names, _galleries, _leaks)
    return [problem for check in checks for problem in check(evaluations)]


@frozen
class _Evaluations:
    """What the checks look at."""

    composed: Composed
    views: PhaseViews
    trained_on: Set[str]
    evaluate: Mapping[str, Evaluator]
    datasets: Mapping[str, Dataset]


def _encoder(e: _Evaluations, part: str, place: Place) -> Iterator[Problem]:
    """One of the encoders that an evaluation joins: a phase or `random`, and maybe one of the views it sees."""
    phase, slash, view = part.partition("/")
    if phase != RANDOM and phase not in e.views:
        yield Problem(f"no phase is called {quoted(phase)}", place, did_you_mean(part, encoder_names(e.views)))
    elif slash and (seen := views_seen(phase, e.views)) and view not in seen:
        head = "no phase learns" if phase == RANDOM else f"phase {quoted(phase)} does not learn"
        yield Problem(f"{head} a view {quoted(view)}", place, did_you_mean(view, seen))


def _names(e: _Evaluations) -> Iterator[Problem]:
    """Evaluations name encoders and data sets that exist."""
    datasets = e.composed.data.get("dataset", {})
    for name, evaluator in e.evaluate.items():
        for i, encoder in enumerate(evaluator.encoders):
            parts = encoder.split("+")
            place = e.composed.place("evaluate", name, "encoders", i)
            if len(parts) > 2:
                yield Problem(f"{quoted(encoder)} joins more than two encoders", place)
            for part in parts:
                yield from _encoder(e, part, place)
        for i, dataset in enumerate(evaluator.datasets):
            if dataset not in datasets:
                place = e.composed.place("evaluate", name, "datasets", i)
                yield Problem(f"no data set is called {quoted(dataset)}", place, did_you_mean(dataset, datasets))


def _galleries(e: _Evaluations) -> Iterator[Problem]:
    """A gallery is a data set, and not another split of the one that asks: a query would find itself."""
    known = e.composed.data.get("dataset", {})
    for name, evaluator in e.evaluate.items():
        gallery = getattr(evaluator, "gallery", None)
        if gallery is None:
            if getattr(evaluator, "classes", None):
                place = e.composed.place("evaluate", name, "classes")
                yield Problem("'classes' without a gallery", place, "it says what the gallery calls a class")
            continue
        place = e.composed.place("evaluate", name, "gallery")
        if gallery not in known:
            yield Problem(f"no data set is called {quoted(gallery)}", place, did_you_mean(gallery, known))
        for dataset in evaluator.datasets:
            if {gallery, dataset} <= e.datasets.keys() and same_but_split(gallery, dataset, e.datasets):
                message = f"{quoted(gallery)} and {quoted(dataset)} are splits of one data set"
                yield Problem(message, place, "a query would find itself in the gallery")


def _leaks(e: _Evaluations) -> Iterator[Problem]:
    """Test videos of another official split are among those that phases trained on."""
    for name, evaluator in e.evaluate.items():
        if evaluator.encoders and all(phases_of(encoder) == {RANDOM} for encoder in evaluator.encoders):
            continue
        for i, dataset in enumerate(evaluator.datasets):
            for other in e.trained_on & e.datasets.keys() if dataset in e.datasets else ():
                if same_but_split(dataset, other, e.datasets):
                    place = e.composed.place("evaluate", name, "datasets", i)
                    message = f"phases train on {quoted(other)}, and {quoted(dataset)} is another split of it"
                    hint = "some of its test videos were trained on; published means over splits accept that"
                    yield Problem(message, place, hint, warning=True)
