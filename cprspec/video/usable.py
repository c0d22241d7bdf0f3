"""Which videos of a data set are usable before anything is trained: what its index says, or else a look at a few.

Videos that are bad in the index, and still the files that were indexed, are quarantined: left out and counted. Nothing is
moved or deleted, and a file that changed since is given another chance.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from attrs import evolve

from cprspec.data.defects import Defect
from cprspec.data.index import Index, Video
from cprspec.data.index_file import IndexFile, default_index
from cprspec.data.records import Record
from cprspec.errors import CprspecError, Place, Problem
from cprspec.video.opening import BadVideo, open_video

LOOKED_AT = 25
"""Videos without an index that are opened, spread over the data set, until one of them is usable."""

MAX_TOLD = 3


def usable_videos(name: str, root: Path, index: Index, cache: Path) -> tuple[Index, list[Problem]]:
    """The index of data set `name` without what is bad, and what to say about that; an error if no video is usable."""
    file = default_index(root, cache)
    if not file.exists():
        return index, _look(name, root, index)
    try:
        with IndexFile.open(file) as records:
            bad = {v.name: r for v in index.videos if (r := records.record(v.name)) and _is_bad(r, v)}
            unknown = sum(v.name not in records for v in index.videos)
    except CprspecError as error:
        return index, [evolve(p, warning=True) for p in error.problems]
    problems = []
    total = len(index.videos)
    if bad:
        flaws = [(n, r.flaw.defect, r.flaw.reason) for n, r in bad.items() if r.flaw]
        left = total - len(bad)
        message = f"{left} of {total} videos of data set '{name}' are usable: {_counted(flaws)}"
        problems.append(Problem(message, Place(str(file)), _examples(flaws), warning=left > 0))
    if unknown:
        message = f"{unknown} of {total} videos of data set '{name}' are not in its index"
        problems.append(Problem(message, Place(str(file)), "`cprspec data index` adds them", warning=True))
    return index.without(bad), problems


def _is_bad(record: Record, video: Video) -> bool:
    """Whether the record says so of this very file."""
    if record.flaw is None:
        return False
    try:
        facts = video.path.stat()
    except OSError:
        return True
    return (facts.st_size, facts.st_mtime_ns) == (record.size, record.mtime_ns)


def _look(name: str, root: Path, index: Index) -> list[Problem]:
    """An error if none of a few videos is usable: then it is the data, and not a video, that is wrong."""
    chosen = np.unique(np.linspace(0, len(index.videos) - 1, min(LOOKED_AT, len(index.videos)), dtype=np.int64))
    flaws: list[tuple[str, Defect, str]] = []
    for video in (index.videos[i] for i in chosen):
        try:
            with open_video(video.path) as (container, stream):
                if next(container.decode(stream), None) is not None:
                    return []
        except BadVideo as error:
            flaws.append((video.name, error.defect, error.reason))
        else:
            flaws.append((video.name, Defect.DAMAGED, "no frame can be decoded"))
    if not flaws:
        return []
    which = "" if len(flaws) == len(index.videos) else f" that were looked at, of {len(index.videos)},"
    message = f"0 of {len(flaws)} videos of data set '{name}'{which} are usable: {_counted(flaws)}"
    return [Problem(message, Place(str(root)), _examples(flaws))]


def _counted(flaws: list[tuple[str, Defect, str]]) -> str:
    return ", ".join(f"{defect} {n}" for defect, n in Counter(d.value for _, d, _ in flaws).most_common())


def _examples(flaws: list[tuple[str, Defect, str]]) -> str:
    return "; ".join(f"{name}: {reason}" for name, _, reason in flaws[:MAX_TOLD])
