"""One pass over one file: its digest, every frame decoded, and what is true of it whatever its header says."""

from __future__ import annotations

import hashlib
import os
from array import array
from fractions import Fraction
from pathlib import Path

import numpy as np
from attrs import define, evolve, field, frozen
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cprspec.data.defects import Defect
from cprspec.data.records import Flaw, Ints, Record, VideoFacts, pack
from cprspec.video import limits
from cprspec.video.opening import BadVideo, open_video, regular_file

CHUNK = 1 << 20
TOLERANCE = 10
"""A header may be wrong about one frame in so many, and about two in any case: real ones are, and harm nobody."""


@frozen
class Job:
    """A file to look at: where it lies, what it is called in the index, and what is asked."""

    path: Path
    name: str
    digest: bool = True
    decode: bool = True


def look_at(job: Job) -> Record:
    """What is true of the file. Never raises for what a file may hold; where `limits` hold, they may end the process."""
    try:
        before = job.path.stat()
    except (OSError, ValueError):
        before = None
    record = Record(
        name=job.name,
        size=before.st_size if before else None,
        mtime_ns=before.st_mtime_ns if before else None,
        sha256=None,
    )
    pass_ = _Pass()
    try:
        regular_file(job.path)
        digest = _digest(job.path) if job.digest else None
        record = evolve(record, sha256=digest)
        if job.decode:
            with open_video(job.path) as (container, stream):
                pass_.decode(container, stream)
                record = evolve(record, video=pass_.facts(container, stream))
            pass_.check_header(job.path)
        if _identity(job.path.stat()) != _identity(before):
            raise BadVideo(job.path, "it changed while it was read", Defect.CHANGED)
    except BadVideo as error:
        flaw = Flaw(defect=error.defect, reason=error.reason, frame=len(pass_.times) or None)
        record = evolve(record, video=None, flaw=flaw)
    except OSError as error:
        flaw = Flaw(defect=Defect.UNREADABLE, reason=error.strerror or type(error).__name__)
        record = evolve(record, video=None, flaw=flaw)
    return record


def _identity(facts: os.stat_result | None) -> tuple[int, ...]:
    return () if facts is None else (facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            limits.progressing()
    limits.done()
    return hasher.hexdigest()


@define
class _Pass:
    """What is gathered of a video while its frames are decoded, eight bytes a number: videos may be long."""

    times: array[int] = field(factory=lambda: array("q"))
    order: array[int] = field(factory=lambda: array("q"))
    keys: array[int] = field(factory=lambda: array("q"))
    packets: int = 0
    stated: int = 0
    corrupt: int = 0
    timeless: bool = False
    first: VideoFrame | None = None

    def decode(self, container: InputContainer, stream: VideoStream) -> None:
        """Every frame, counted; each remembers the packet that it came from."""
        stream.codec_context.copy_opaque = True
        self.stated = stream.frames
        for packet in container.demux(stream):
            if packet.size:
                packet.opaque = self.packets
            self.packets += packet.size > 0 or packet.pts is not None  # the last is the end, and no packet
            for frame in packet.decode():
                self._count(frame)
            limits.progressing()

    def _count(self, frame: VideoFrame) -> None:
        self.first = self.first or frame
        if frame.key_frame:
            self.keys.append(len(self.times))
        self.timeless = self.timeless or frame.pts is None
        self.times.append(frame.pts or 0)
        self.order.append(frame.opaque if isinstance(frame.opaque, int) else -1)
        self.corrupt += frame.is_corrupt

    def check_header(self, path: Path) -> None:
        """`BadVideo` where there are no frames, or others than the header says."""
        if not self.times:
            raise BadVideo(path, "no frame can be decoded", Defect.DAMAGED)
        difference = abs(self.stated - self.packets)
        if self.stated and difference > max(2, self.packets // TOLERANCE):
            reason = f"the header says {self.stated} frames, and there are {self.packets}"
            raise BadVideo(path, reason, Defect.LYING_HEADER)

    def facts(self, container: InputContainer, stream: VideoStream) -> VideoFacts | None:
        """The facts for the index; None without a frame."""
        if self.first is None:
            return None
        base, rate = stream.time_base or Fraction(1), stream.average_rate or stream.guessed_rate
        times = self._ascending(float(1 / (rate * base)) if rate else 1.0)
        span = float((times[-1] - times[0]) * base)
        order = np.frombuffer(self.order, np.int64)
        return VideoFacts(
            container=container.format.name,
            codec=stream.codec_context.name,
            width=self.first.width,
            height=self.first.height,
            rotation=self.first.rotation,
            frames=len(times),
            fps=round((len(times) - 1) / span, 6) if span else float(rate) if rate else None,
            time_base=str(base),
            packed_times=pack(times),
            packed_order=None if np.array_equal(order, np.arange(len(order))) else pack(order),
            packed_keys=pack(np.frombuffer(self.keys, np.int64)),
            corrupt=self.corrupt,
        )

    def _ascending(self, interval: float) -> Ints:
        """When each frame is shown. Frames come in this order, so times in another are those of decoding, as AVI has them.

        Without times of their own, frames are `interval` apart.
        """
        times = np.sort(np.frombuffer(self.times, np.int64))
        if self.timeless or not (np.diff(times) > 0).all():
            return np.round(np.arange(len(times)) * interval).astype(np.int64)
        return times
