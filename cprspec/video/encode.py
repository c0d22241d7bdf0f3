"""Writing a store's videos: H.264 in mp4, in groups of pictures so short that any clip is near a key frame.

The same frames give the same bytes: one thread, no time or version of the program in the file, and no choice by processor.
Without B-frames, deblocking and arithmetic codes (x264's `fastdecode`), and with one reference picture, decoding takes a third
of the time at a few percent more bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

RATE = Fraction(25)
"""Frames a second that a store's files say: only players look at it."""


class Encoder:
    """Encodes pictures `[H,W,3]` (H and W even), or planes `[H,W]` as grey without a change of range, of one size."""

    def __init__(self, file: Path, crf: int, group: int) -> None:
        self._container = av.open(str(file), "w", format="mp4", options={"fflags": "+bitexact"})
        self._options = {
            "crf": str(crf), "preset": "veryfast", "tune": "fastdecode", "threads": "1",
            "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0:bframes=0:cpu-independent=1",
        }  # fmt: skip
        self._stream: VideoStream | None = None
        self.frames = 0

    def write(self, picture: Bytes) -> None:
        """Encode the next frame."""
        pixels = "rgb24" if picture.ndim == 3 else "gray"
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=RATE, options=self._options)
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "gray" if pixels == "gray" else "yuv420p"
            assert isinstance(self._stream.codec_context, VideoCodecContext)
            self._stream.codec_context.thread_count = 1
        frame = av.VideoFrame.from_ndarray(picture, format=pixels)
        frame.pts, self.frames = self.frames, self.frames + 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode what is left, and finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        with suppress(Exception):  # it is removed
            self._container.close()


@contextmanager
def encoded(file: Path, crf: int, group: int) -> Iterator[Encoder]:
    """An encoder into `file`, which appears whole when the context ends without an error, and else not at all."""
    working = file.with_name(
        f".{hashlib.sha256(file.name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.{os.getpid()}.tmp"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(working, crf, group)
    try:
        yield encoder
        encoder.close()
        working.replace(file)
    except BaseException:
        encoder.abandon()
        working.unlink(missing_ok=True)
        raise
