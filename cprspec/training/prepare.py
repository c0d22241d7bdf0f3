"""Before training: which videos exist, where they lie, and their pictures and flow in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cprspec.data.index import Index
from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.kinds import View
from cprspec.spec.presence import read_indices
from cprspec.spec.schema import Resolved
from cprspec.video.store import Store, cache_folder
from cprspec.video.usable import usable_videos


def read_data(resolved: Resolved, warn: Callable[[list[Problem]], None] | None = None) -> dict[str, Index]:
    """The index of every data set of the experiment, of usable videos; `warn` hears what does not stop it.

    CprspecError with all that is missing or too little.
    """
    indices, problems = read_indices(resolved, cache_folder(), usable_videos)
    if any(not p.warning for p in problems):
        raise CprspecError(problems)
    if warn:
        warn(problems)
    return indices


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
    """Decode every video and compute its flow, once; what the store has already costs a look.

    CprspecError with each bad video, or when the store may not grow large enough to hold them all.
    """
    paths: list[Path] = [video.path for index in indices.values() for video in index.videos]
    views = list(used_views(resolved).values())
    for side in sorted({phase.clip.stored_side for phase in resolved.phases}):
        store.fill(paths, views, side, workers, progress)
        lost = sum(not all(store.holds(path, view, side) for view in views) for path in paths)
        if lost:
            message = (
                f"the store is too small: {lost} of {len(paths)} videos did not fit, and would be decoded every epoch"
            )
            hint = "let it grow with CPRSPEC_CACHE_GIB, or store smaller pictures with clip.short_side"
            raise CprspecError(Problem(message, hint=hint), exit_code=1)


def short_videos(resolved: Resolved, indices: dict[str, Index], store: Store) -> list[Problem]:
    """A warning for each data set and clip length with videos that are shorter than one clip; the store must be filled."""
    problems = []
    for name, index in indices.items():
        for clip in dict.fromkeys(phase.clip for phase in resolved.phases):
            needed = clip.frames * clip.stride
            views = list(used_views(resolved).values())
            lengths = [min(len(store.read(v.path, view, clip.stored_side)) for view in views) for v in index.videos]
            short = [v.name for v, n in zip(index.videos, lengths, strict=True) if n < needed]
            if short:
                message = (
                    f"{len(short)} of {len(index.videos)} videos of '{name}' are shorter than a clip of {needed} frames"
                )
                hint = (
                    f"they are padded with their first frame: {', '.join(short[:3])}{' ...' if len(short) > 3 else ''}"
                )
                problems.append(Problem(message, Place(str(resolved.source)), hint, warning=True))
    return problems
