"""Decoding with PyAV, behind the defences of `opening`: pictures upright, bounded in number, one kind of error.

A frame is known by its position in the order of presentation, counted over what the decoder gives, whatever the times
between frames. Turned videos are turned back.
Legend: N frames of a video, T frames of a clip, H height, W width; pictures are uint8 RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cprspec.data.defects import Defect
from cprspec.video import limits
from cprspec.video.opening import MAX_PIXELS, BadVideo, check_size, open_video

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

MAX_BYTES = 4 * 2**30
"""Most that one video may take as pictures, since whole videos are decoded: 36 minutes at 30 fps, 128 x 171 pixels."""

TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose packets carry times of presentation, so that a frame can be found without decoding what is before."""


def read_frames(path: Path, short_side: int) -> Bytes:
    """Every frame `[N,H,W,3]`, its short side resized to `short_side` pixels. Raises `BadVideo`."""
    with open_video(path) as (container, stream):
        resize = _Resize(path, short_side)
        frames: list[Bytes] = []
        for frame in container.decode(stream):
            frames.append(resize(frame))
            limits.progressing()
            if len(frames) * frames[0].nbytes > MAX_BYTES:
                reason = f"more than {MAX_BYTES >> 30} GiB of pictures; cut it into shorter videos"
                raise BadVideo(path, reason, Defect.TOO_LARGE)
    if not frames:
        raise BadVideo(path, "no frame can be decoded")
    return np.stack(frames)


def read_clip(path: Path, indices: Ints, short_side: int) -> Bytes:
    """The frames `[T,H,W,3]` at `indices` (any order, repeats allowed), exactly as `read_frames` gives them.

    Decodes from the key frame before the first of them where the container tells when frames are shown, else from the
    start. Raises `BadVideo`, also when the video has too few frames.
    """
    wanted = set(indices.tolist())
    if not wanted or min(wanted) < 0:
        raise ValueError(f"not frame indices: {indices}")
    found = _seek_and_read(path, wanted, short_side) or _count_and_read(path, wanted, short_side)
    return np.stack([found[i] for i in indices.tolist()])


def _seek_and_read(path: Path, wanted: set[int], short_side: int) -> dict[int, Bytes] | None:
    """The frames at `wanted` by position, or None where times do not lead to every one of them."""
    with open_video(path) as (container, stream):
        times = _times(container, stream)
        if times is None or max(wanted) >= len(times):
            return None
        position = {times[i]: i for i in wanted}
        container.seek(times[min(wanted)], stream=stream, backward=True)
        found: dict[int, Bytes] = {}
        resize = _Resize(path, short_side)
        for frame in container.decode(stream):
            if frame.pts in position:
                found[position[frame.pts]] = resize(frame)
            if len(found) == len(wanted) or (frame.pts is not None and frame.pts > times[max(wanted)]):
                break
    return found if len(found) == len(wanted) else None


def _times(container: InputContainer, stream: VideoStream) -> list[int] | None:
    """When each frame is shown, ascending, from the packets alone; None where they do not tell."""
    if container.format.name not in TIMED:
        return None
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    times = sorted({packet.pts for packet in packets if packet.pts is not None})
    return times if len(times) == len(packets) else None


def _count_and_read(path: Path, wanted: set[int], short_side: int) -> dict[int, Bytes]:
    found: dict[int, Bytes] = {}
    with open_video(path) as (container, stream):
        resize, count = _Resize(path, short_side), 0
        for frame in container.decode(stream):
            if count in wanted:
                found[count] = resize(frame)
            count += 1
            if len(found) == len(wanted):
                return found
    raise BadVideo(path, f"has {count} frames, and frame {max(wanted)} is asked for")


def quarter_turns(frame: av.VideoFrame) -> int:
    """How many quarters, counter-clockwise, a frame must be turned to stand upright; other angles are left alone."""
    return 0 if frame.rotation % 90 else frame.rotation // 90 % 4


class _Resize:
    """Frames to RGB, upright, at the size of the first; one reformatter for all, since making one costs more than its use."""

    def __init__(self, path: Path, short_side: int) -> None:
        self._path, self._short_side = path, short_side
        self._size: tuple[int, int] | None = None
        self._method = Interpolation.AREA
        self._quarters = 0
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Bytes:
        if self._size is None:
            self._size = self._choose(frame)
        width, height = self._size
        picture = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=self._method, threads=1
        )
        upright = picture.to_ndarray()
        return cast(Bytes, np.rot90(upright, self._quarters) if self._quarters else upright)

    def _choose(self, frame: av.VideoFrame) -> tuple[int, int]:
        check_size(self._path, frame.width, frame.height)
        self._quarters = quarter_turns(frame)
        scale = self._short_side / min(frame.width, frame.height)
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        if width * height > MAX_PIXELS:  # such as 8192 x 2, enlarged
            raise BadVideo(self._path, f"frames of {frame.width} x {frame.height} become {width} x {height} pixels")
        self._method = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
        return width, height
