"""What is there of the videos that an experiment names: counts for a reader, and a problem for each thing missing.

Data sets read their own indices (`Dataset.build`). Whether videos are sound is asked of who may open one (`Usable`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.classes import matched_classes
from cprspec.spec.kinds import Dataset
from cprspec.spec.schema import Resolved, WeightsFile
from cprspec.spec.sweep import told_once

if TYPE_CHECKING:
    from cprspec.data.index import Index


FEW_STEPS = 150
"""Optimiser steps from random weights below which a phase is told to learn next to nothing: quickstart makes 480, and the 180
of the Weizmann recipes are few already (docs/experiments.md)."""

Usable = Callable[[str, Path, "Index", Path], tuple["Index", list[Problem]]]
"""Leaves out the bad videos of a data set (its name, root, index, and the cache folder), and says so: video/usable.py."""

Known = dict[tuple[Dataset, Path], tuple["Index", list[Problem]]]


def read_indices(
    resolved: Resolved, cache: Path, usable: Usable | None = None, known: Known | None = None
) -> tuple[dict[str, Index], list[Problem]]:
    """The index of each data set that can be read, of `usable` videos, and every problem with data and weights files.

    Embedded data sets make their files under `cache` if they are not there yet. `known` are indices that were read for
    another experiment, and are not read again; new ones are added.
    """
    from cprspec.data.stores import build_index

    known = {} if known is None else known
    indices: dict[str, Index] = {}
    problems = _missing_weights(resolved)
    for name, dataset in resolved.datasets.items():
        place = _place(resolved, name)
        root = resolved.roots.get(name) or (cache / dataset.name if dataset.embedded else None)
        if root is None:
            hint = f"say it with --root {name}=DIR, or as root in [dataset.{name}]"
            problems.append(Problem(f"where the videos of data set '{name}' lie is not known", place, hint))
            continue
        if not dataset.embedded and not root.is_dir():
            problems.append(Problem(f"the root of data set '{name}' is not a folder: {root}", place))
            continue
        try:
            if (dataset, root) not in known:
                index = build_index(dataset, root)
                known[dataset, root] = usable(name, root, index, cache) if usable else (index, [])
        except CprspecError as error:
            problems += error.problems
            continue
        index, found = known[dataset, root]
        problems += found
        if any(not p.warning for p in found):
            continue
        indices[name] = index
        problems += _training_problems(resolved, index) if name == resolved.train_on else []
        problems += _evaluation_problems(resolved, name, index)
    return indices, problems + _gallery_problems(resolved, indices)


def read_facts(
    runs: Sequence[Resolved], cache: Path, usable: Usable | None = None
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The counts of each data set of `runs`, read once, and every problem with the data of any of them."""
    known: Known = {}
    read = [read_indices(run, cache, usable, known) for run in runs]
    facts = {(name, id(index)): index_facts(name, index) for indices, _ in read for name, index in indices.items()}
    return list(facts.values()), told_once([(r.name, found) for r, (_, found) in zip(runs, read, strict=True)])


def index_facts(name: str, index: Index) -> dict[str, Any]:
    """Counts of one data set: videos, sources, classes, and the fewest and most training sources of a class."""
    train = [v for v in index.videos if v.split == "train"]
    of_class: dict[int, set[int]] = defaultdict(set)
    for video in train:
        if video.label is not None:
            of_class[video.label].add(video.source)
    counts = [len(of_class[c]) for c in range(len(index.classes))]
    return {
        "name": name,
        "classes": len(index.classes),
        "train_videos": len(train),
        "train_sources": len({v.source for v in train}),
        "test_videos": sum(v.split == "test" for v in index.videos),
        "sources_per_class": [min(counts), max(counts)] if counts else None,
    }


def _place(resolved: Resolved, dataset: str) -> Place:
    places = resolved.places
    return places.get(("dataset", dataset, "root")) or places.get(("dataset", dataset)) or Place(str(resolved.source))


def _missing_weights(resolved: Resolved) -> list[Problem]:
    problems = []
    for phase in resolved.phases:
        if isinstance(phase.start_from, WeightsFile) and not phase.start_from.file.is_file():
            place = resolved.places.get(("phase", phase.name, "start_from"), Place(str(resolved.source)))
            message = f"phase '{phase.name}' starts from {phase.start_from.file}, which is not a file"
            problems.append(Problem(message, place))
    return problems


def _training_problems(resolved: Resolved, index: Index) -> list[Problem]:
    """Too little to train on, or labels missing where they are mined by."""
    train = [v for v in index.videos if v.split == "train"]
    sources = len({v.source for v in train})
    place = _place(resolved, resolved.train_on)
    problems = []
    for phase in resolved.phases:
        if len(train) < phase.batch_size:
            message = f"{len(train)} videos to train on are fewer than one batch of {phase.batch_size}"
            problems.append(Problem(message, place, "lower batch_size or add videos"))
        if phase.miner is not None and phase.miner.by_labels and not any(v.label is not None for v in train):
            message = f"phase '{phase.name}' mines by labels, and data set '{resolved.train_on}' has none"
            problems.append(Problem(message, place))
        queue = getattr(phase.framework, "queue_size", 0)
        if queue > len(train):
            message = f"the queue of {queue} is larger than the {len(train)} videos to train on"
            hint = "it holds some videos twice; a smaller queue_size avoids that"
            problems.append(Problem(message, place, hint, warning=True))
        negatives = getattr(phase.framework, "negatives", 0)
        if negatives > len(train):
            message = f"{negatives} negatives are drawn from a bank of {len(train)} videos to train on"
            hint = "some are drawn several times; fewer negatives avoid that"
            problems.append(Problem(message, place, hint, warning=True))
    problems += _few_steps(resolved, len(train), place)
    problems += _never_full(resolved, len(train), place)
    if len(train) > 1 and sources == 1:
        problems.append(Problem("every training video has the same source, so nothing can be mined", place))
    return list(dict.fromkeys(problems))


def _few_steps(resolved: Resolved, videos: int, place: Place) -> list[Problem]:
    """One warning for all phases that begin with random weights and end before anything can be learned."""
    steps = {p.name: (videos // p.batch_size, p.epochs) for p in resolved.phases if p.start_from is None}
    few = {name: (each, epochs) for name, (each, epochs) in steps.items() if 0 < each * epochs < FEW_STEPS}
    if not few:
        return []
    each, epochs = min(few.values(), key=lambda number: number[0] * number[1])
    names = ", ".join(f"'{name}'" for name in few)
    message = (
        f"{videos} videos are few: {each * epochs} steps in all from random weights ({each} an epoch, {epochs} epochs) "
        f"teach next to nothing (phase{'s' if len(few) > 1 else ''} {names})"
    )
    hint = f"more videos, a smaller batch_size, or about {-(-FEW_STEPS * 3 // each)} epochs"
    return [Problem(message, place, hint, warning=True)]


def _never_full(resolved: Resolved, videos: int, place: Place) -> list[Problem]:
    """A warning for each phase that ends before its queue is full: until then nothing is mined and no update is made."""
    problems = []
    for phase in resolved.phases:
        queue = getattr(phase.framework, "queue_size", 0)
        if phase.miner is None or phase.mine_with is None or not queue:
            continue
        each, needed = videos // phase.batch_size, -(-queue // phase.batch_size)
        if 0 < each * phase.epochs <= needed:
            message = (
                f"phase '{phase.name}' will mine and learn nothing: its queue of {queue} takes {needed} steps to fill, and "
                f"it has {each * phase.epochs}"
            )
            hint = f"a smaller framework.queue_size, or more than {needed // each} epochs"
            problems.append(Problem(message, place, hint, warning=True))
    return problems


def _evaluation_problems(resolved: Resolved, name: str, index: Index) -> list[Problem]:
    """Labels, test videos, or enough to train on missing where an evaluation needs them."""
    problems = []
    to_train_on = sum(v.label is not None and v.split == "train" for v in index.videos)
    for title, evaluator in resolved.evaluate.items():
        if name not in (evaluator.datasets or (resolved.train_on,)):
            continue
        place = resolved.places.get(("evaluate", title), Place(str(resolved.source)))
        if evaluator.needs_labels and all(v.label is None for v in index.videos):
            message = f"evaluation '{title}' needs labels, and data set '{name}' has none"
            problems.append(Problem(message, place))
        if evaluator.needs_test_split and all(v.split != "test" for v in index.videos):
            message = f"evaluation '{title}' needs test videos, and data set '{name}' has none"
            problems.append(Problem(message, place))
        held_out = getattr(evaluator, "validation", 0)
        if evaluator.trains and to_train_on < held_out + 2:
            besides = f" besides the {held_out} it holds out" if held_out else ""
            message = (
                f"evaluation '{title}' trains on labelled videos{besides}, and data set '{name}' has {to_train_on}"
            )
            problems.append(Problem(message, place))
    return problems


def _gallery_problems(resolved: Resolved, indices: Mapping[str, Index]) -> list[Problem]:
    """A gallery without labels or training videos, or one that shares no class with those who ask."""
    problems: list[Problem] = []
    for title, evaluator in resolved.evaluate.items():
        name = getattr(evaluator, "gallery", None)
        if name is None or name not in indices:
            continue
        gallery = indices[name]
        place = resolved.places.get(("evaluate", title, "gallery"), Place(str(resolved.source)))
        if all(v.label is None or v.split != "train" for v in gallery.videos):
            message = f"evaluation '{title}' searches data set '{name}', which has no training videos with labels"
            problems.append(Problem(message, place))
            continue
        for dataset in evaluator.datasets or (resolved.train_on,):
            if dataset == name or dataset not in indices:
                continue
            try:
                matched_classes(
                    indices[dataset].classes, gallery.classes, getattr(evaluator, "classes", None) or {}, place
                )
            except CprspecError as error:
                problems += error.problems
    return problems
