"""Decoding with PyAV, defended: regular files only, no protocol but `file`, bounded sizes, one kind of error.

A frame is known by its position in the order of presentation, counted over what the decoder gives. Files are untrusted:
playlists and other formats that open further files are refused, and so is what would not fit into memory.
Legend: N frames of a video, T frames of a clip, H height, W width; pictures are uint8 RGB.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

MAX_PIXELS = 9_400_000
"""Largest frame that is decoded: 4096 x 2294, so that no file takes all memory."""

MAX_BYTES = 4 * 2**30
"""Most that one video may take as pictures, since whole videos are decoded: 36 minutes at 30 fps, 128 x 171 pixels."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,ogg,asf,flv,h264,hevc"
"""Containers that hold their own frames, by FFmpeg's names. Playlists (hls, concat, dash, image2) open other files."""

TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose packets carry times of presentation, so that a frame can be found without decoding what is before."""


class BadVideo(CprspecError):  # noqa: N818  it says what is bad
    """A file that cannot be read as a video, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(Problem(f"not a readable video: {reason}", Place(str(path))), exit_code=1)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadVideo], tuple[Path, str]]:
        return BadVideo, (self.path, self.reason)  # workers send it to their parent


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """The opened container of a regular file. Whatever goes wrong inside the context is a `BadVideo`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO or a device would hang
            raise BadVideo(path, "not a regular file")
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        with av.open(str(path.absolute()), options=options) as container:  # absolute: never read as `protocol:`
            _limit(path, container)
            yield container
    except CprspecError:
        raise
    except Exception as error:  # PyAV's errors are not one family
        raise BadVideo(path, _reason(error)) from error


def _limit(path: Path, container: InputContainer) -> None:
    """Refuse what cannot be decoded within bounds, before a frame is."""
    if not container.streams.video:
        raise BadVideo(path, "no video stream")
    codec = container.streams.video[0].codec_context
    if codec.width * codec.height > MAX_PIXELS:
        raise BadVideo(
            path, f"frames of {codec.width} x {codec.height} pixels; at most {MAX_PIXELS} pixels are decoded"
        )
    codec.options = {"max_pixels": str(MAX_PIXELS)}  # for frames that are larger than the header says
    codec.thread_count = 1  # the store decodes many videos at once


def _reason(error: Exception) -> str:
    """One short line: what the operating system or the decoder says, without repeating the file's name."""
    text = getattr(error, "strerror", None) or str(error).split(":", 1)[0] or "no reason given"
    return clean(f"{text} ({type(error).__name__})", MAX_ECHO)


def read_frames(path: Path, short_side: int) -> Bytes:
    """Every frame `[N,H,W,3]`, its short side resized to `short_side` pixels. Raises `BadVideo`."""
    with open_video(path) as container:
        resize = _Resize(path, short_side)
        frames: list[Bytes] = []
        for frame in container.decode(container.streams.video[0]):
            frames.append(resize(frame))
            if len(frames) * frames[0].nbytes > MAX_BYTES:
                raise BadVideo(path, f"more than {MAX_BYTES >> 30} GiB of pictures; cut it into shorter videos")
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
    with open_video(path) as container:
        stream = container.streams.video[0]
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
    with open_video(path) as container:
        resize, count = _Resize(path, short_side), 0
        for frame in container.decode(container.streams.video[0]):
            if count in wanted:
                found[count] = resize(frame)
            count += 1
            if len(found) == len(wanted):
                return found
    raise BadVideo(path, f"has {count} frames, and frame {max(wanted)} is asked for")


class _Resize:
    """Frames to RGB at one size, that of the first; one reformatter for all, since making one costs more than using it."""

    def __init__(self, path: Path, short_side: int) -> None:
        self._path, self._short_side = path, short_side
        self._size: tuple[int, int] | None = None
        self._method = Interpolation.AREA
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Bytes:
        if self._size is None:
            self._size = self._choose(frame)
        width, height = self._size
        picture = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=self._method, threads=1
        )
        return cast(Bytes, picture.to_ndarray())

    def _choose(self, frame: av.VideoFrame) -> tuple[int, int]:
        scale = self._short_side / min(frame.width, frame.height)
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        if width * height > MAX_PIXELS:  # such as 8192 x 2, enlarged
            raise BadVideo(self._path, f"frames of {frame.width} x {frame.height} become {width} x {height} pixels")
        self._method = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
        return width, height
