"""Before training: which videos exist, where they lie, and their pictures and flow in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cprspec.data.index import Index
from cprspec.errors import CprspecError, Problem
from cprspec.spec.kinds import View
from cprspec.spec.schema import Resolved
from cprspec.video.store import Store, cache_folder


def read_data(resolved: Resolved) -> dict[str, Index]:
    """The index of every data set of the experiment. CprspecError with every data set that cannot be read."""
    indices: dict[str, Index] = {}
    problems: list[Problem] = []
    for name, dataset in resolved.datasets.items():
        root = resolved.roots.get(name)
        if root is None and dataset.embedded:
            root = cache_folder() / dataset.name
        if root is None:
            hint = f"give it with --root {name}=DIR, or as root in [dataset.{name}]"
            problems.append(Problem(f"where the videos of data set '{name}' lie is not known", hint=hint))
            continue
        try:
            indices[name] = dataset.build(root)
        except CprspecError as error:
            problems += error.problems
    problems += _enough_to_train(resolved, indices)
    if problems:
        raise CprspecError(problems)
    return indices


def _enough_to_train(resolved: Resolved, indices: dict[str, Index]) -> list[Problem]:
    if resolved.train_on not in indices:
        return []
    index = indices[resolved.train_on]
    count = len(index.ids("train"))
    problems = []
    for phase in resolved.phases:
        if count < phase.batch_size:
            message = f"phase '{phase.name}': {count} training videos are fewer than one batch of {phase.batch_size}"
            problems.append(Problem(message, hint="lower batch_size or add videos"))
        if phase.miner is not None and phase.miner.by_labels and not index.labelled:
            message = (
                f"phase '{phase.name}': miner '{phase.miner.name}' needs labels and '{resolved.train_on}' has none"
            )
            problems.append(Problem(message))
    return problems


def used_views(resolved: Resolved) -> dict[str, View]:
    """The views that any phase reads, by name."""
    names = dict.fromkeys(name for phase in resolved.phases for name in resolved.views_of(phase))
    return {name: resolved.views[name] for name in names}


def fill_store(
    resolved: Resolved,
    indices: dict[str, Index],
    store: Store,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Decode every video and compute its flow, once; what the store has already costs a look."""
    paths: list[Path] = [video.path for index in indices.values() for video in index.videos]
    views = list(used_views(resolved).values())
    for side in sorted({phase.clip.stored_side for phase in resolved.phases}):
        store.fill(paths, views, side, workers, progress)
