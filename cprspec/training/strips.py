"""Strips: small pictures of the clips that a mining table shows, so that people see what was mined.

A strip is a JPEG of a few frames of a video's middle clip side by side. It is a function of the video alone and called after
its number, so a later epoch that shows the video again finds it there. Written by rank 0 when an epoch is over, from the
store only: nothing is decoded for it. `launch.strips` says for how many examples of each class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cprspec.components.views import Flow
from cprspec.errors import CprspecError
from cprspec.runs import events
from cprspec.runs.files import atomic_write_bytes
from cprspec.runs.layout import STRIPS
from cprspec.spec.kinds import View
from cprspec.spec.schema import Clip
from cprspec.training.examples import UNKNOWN_AS_CLASSES
from cprspec.training.job import Job
from cprspec.training.mining_table import Example, MiningTable
from cprspec.video.flow import dequantise

Bytes = NDArray[np.uint8]

HEIGHT, FRAMES = 64, 4
"""Pixels, and frames side by side."""

MINED_DRAWN = 5
"""Picks of an example that have a strip, best first."""

FOLDER_BYTES = 8 << 20
"""How much the strips of one phase may take; those that no table has named for longest go first."""

_QUALITY = 80
_WIDEST = 2.5


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


def shown_view(views: list[View]) -> View:
    """What people are shown of these views: the pictures if one of them is made from pictures, else flow."""
    return next((view for view in views if not isinstance(view, Flow)), views[0])


def strip(stored: Bytes, clip: Clip, view: View) -> bytes:
    """A JPEG of FRAMES frames of the middle clip, from pictures `[N,H,W,3]` or flow `[N,H,W,2]` as the store has them."""
    span = min(len(stored), clip.frames * clip.stride)
    start = (len(stored) - span) // 2
    frames = stored[np.linspace(start, start + span - 1, FRAMES).round().astype(np.int64)]
    if isinstance(view, Flow):
        frames = colour_wheel(frames, view.bound)
    height, width = frames.shape[1:3]
    size = (round(HEIGHT * min(_WIDEST, max(1 / _WIDEST, width / height))), HEIGHT)
    method = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    row = np.concatenate([cv2.resize(frame, size, interpolation=method) for frame in frames], axis=1)
    _, content = cv2.imencode(".jpg", row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()


def colour_wheel(flow_u8: Bytes, bound: float) -> Bytes:
    """Flow `[T,H,W,2]` as pictures: hue is the direction, colour deepens with speed up to the clip's fastest; white is rest."""
    flow = dequantise(flow_u8, bound)
    speed = np.hypot(flow[..., 0], flow[..., 1])
    fastest = max(float(np.percentile(speed, 99)), 1.0)
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    hue = (angle / (2 * np.pi) % 1.0 * 180).astype(np.uint8)  # OpenCV's hue is half the degrees
    depth = (np.minimum(speed / fastest, 1.0) * 255).astype(np.uint8)
    hsv = np.stack([hue, depth, np.full_like(depth, 255)], axis=-1)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv])
