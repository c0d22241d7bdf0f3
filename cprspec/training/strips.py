"""Strips of what a mining table shows, so that people see what was mined.

A strip (video/strips.py) is a function of the video alone and called after its number, so a later epoch that shows the video
again finds it there. Written by rank 0 when an epoch is over, from the store only: nothing is decoded for it.
`launch.strips` says for how many examples of each class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from cprspec.errors import CprspecError
from cprspec.runs import events
from cprspec.runs.files import atomic_write_bytes
from cprspec.runs.layout import STRIPS
from cprspec.training.examples import UNKNOWN_AS_CLASSES
from cprspec.training.job import Job
from cprspec.training.mining_table import Example, MiningTable
from cprspec.video.strips import shown_view, strip

MINED_DRAWN = 5
"""Picks of an example that have a strip, best first."""

FOLDER_BYTES = 8 << 20
"""How much the strips of one phase may take; those that no table has named for longest go first."""


class Strips:
    """The strips of one phase."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder = job.folder / "mining" / STRIPS
        self._view = shown_view([job.views[name] for name in (*job.phase.views, job.mining_view) if name])
        self._given_up = False

    def draw(self, table: MiningTable) -> dict[int, str]:
        """Have strips of the examples of `table`, and their files' names by video; every class before any has two.

        Rank 0 calls it. A strip that cannot be made is left out, and where none can be written any more a warning says so.
        """
        names: dict[int, str] = {}
        size = 0
        for video in drawn(table, self._job.launch.strips):
            if self._given_up or size > FOLDER_BYTES:
                break
            if video in names:
                continue
            file = self._folder / f"{video:06d}.jpg"
            if (bytes_of_it := self._write(file, video)) is not None:
                names[video] = file.name
                size += bytes_of_it
        self._make_room(set(names.values()))
        return names

    def _write(self, file: Path, video: int) -> int | None:
        """The size of the strip in `file`, written if it is not there; None where there are no pictures."""
        try:
            os.utime(file)
            return file.stat().st_size
        except OSError:
            pass
        job = self._job
        path, side = job.index.videos[video].path, job.phase.clip.stored_side
        try:
            if not job.store.holds(path, self._view, side):
                return None
            stored = job.store.read(path, self._view, side)
            content = strip(stored, job.phase.clip, self._view)
            atomic_write_bytes(file, content, durable=False)
        except CprspecError as error:
            self._given_up = True
            job.report(events.Warned(message=f"phase '{job.phase.name}' writes no strips from here on: {error}"))
            return None
        return len(content)

    def _make_room(self, wanted: set[str]) -> None:
        files = sorted(self._folder.glob("*.jpg"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        size = sum(file.stat().st_size for file in files)
        while size > FOLDER_BYTES and files:
            oldest = files.pop()
            if oldest.name not in wanted:
                size -= oldest.stat().st_size
                oldest.unlink()


def drawn(table: MiningTable, per_class: int) -> Iterator[int]:
    """The videos to draw: of each class its first example and what was mined for it, then the second ones, and so on."""
    rounds: dict[int, list[Example]] = {}
    for label, examples in groupby(table.examples, key=lambda example: example.label):
        wanted = per_class * (UNKNOWN_AS_CLASSES if label is None else 1)
        for i, example in zip(range(wanted), examples, strict=False):
            rounds.setdefault(i, []).append(example)
    for _, together in sorted(rounds.items()):
        for example in together:
            yield example.video
            yield from (mined.video for mined in example.mined[:MINED_DRAWN])
