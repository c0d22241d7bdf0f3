"""What an index says of one file: the facts of a sound video, or the flaw of a bad one. See docs/data.md for the format.

Legend: N frames in the order in which they are shown, K key frames.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from cprspec.data.defects import Defect
from cprspec.data.index import Entry

Ints = NDArray[np.int64]


@frozen(kw_only=True)
class VideoFacts:
    """A video of which every frame was decoded. Sizes are as stored, before `rotation` (degrees, counter-clockwise) is undone.

    `corrupt` frames are those in which the decoder had to mend something. The tables are packed, see `pack`.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    frames: int
    fps: float | None
    time_base: str
    packed_times: str
    packed_order: str | None
    packed_keys: str
    corrupt: int

    @property
    def times_N(self) -> Ints:
        """When each frame is shown, in units of `time_base`, strictly ascending."""
        return unpack(self.packed_times)

    @property
    def seconds_N(self) -> NDArray[np.float64]:
        """When each frame is shown, in seconds of the container's clock."""
        base = Fraction(self.time_base)
        return self.times_N * np.float64(base.numerator / base.denominator)

    @property
    def order_N(self) -> Ints:
        """The place of each frame's packet in the order of decoding, from 0; B-frames make it differ from 0 to N - 1."""
        return np.arange(self.frames) if self.packed_order is None else unpack(self.packed_order)

    @property
    def keys_K(self) -> Ints:
        """Which frames can be decoded without another."""
        return unpack(self.packed_keys)


@frozen(kw_only=True)
class Flaw:
    """Why a file is no usable video; `frame` is the first one that could not be had, None where that says nothing."""

    defect: Defect
    reason: str
    frame: int | None = None


@frozen(kw_only=True)
class Record:
    """One file of a collection. `size` in bytes and `mtime_ns` are None where there is no file to ask.

    Either `video` or `flaw` is there.
    """

    name: str
    size: int | None
    mtime_ns: int | None
    sha256: str | None
    label: str | None = None
    source: str = ""
    split: str = "train"
    video: VideoFacts | None = None
    flaw: Flaw | None = None

    def described(self, entry: Entry) -> Record:
        """The same file with what a data set says of it."""
        return evolve(self, label=entry.label, source=entry.source, split=entry.split)


def pack(numbers: Sequence[int] | Ints) -> str:
    """Whole numbers as text: their differences (the first from 0) as int64, little endian, zlib, base64."""
    steps = np.diff(np.asarray(numbers, np.int64), prepend=np.int64(0))
    return base64.b64encode(zlib.compress(steps.astype("<i8").tobytes(), 9)).decode("ascii")


def unpack(text: str) -> Ints:
    """The inverse of `pack`. ValueError where `text` is none of its making."""
    try:
        steps = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<i8")
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.cumsum(steps, dtype=np.int64)


def to_line(record: Record) -> str:
    """The record as one line of JSON, with its newline; the same for the same record."""
    video, flaw = record.video, record.flaw
    data: dict[str, Any] = {
        "name": record.name, "size": record.size, "mtime_ns": record.mtime_ns, "sha256": record.sha256,
        "label": record.label, "source": record.source, "split": record.split,
    }  # fmt: skip
    if video is not None:
        data["video"] = {
            "container": video.container, "codec": video.codec, "width": video.width, "height": video.height,
            "rotation": video.rotation, "frames": video.frames, "fps": video.fps, "time_base": video.time_base,
            "times": video.packed_times, "order": video.packed_order, "keys": video.packed_keys,
            "corrupt": video.corrupt,
        }  # fmt: skip
    if flaw is not None:
        data["bad"] = {"class": flaw.defect.value, "reason": flaw.reason, "frame": flaw.frame}
    return json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n"


def from_line(line: str | bytes) -> Record:
    """The record of one line; fields that a newer version added are ignored. ValueError where the line is damaged."""
    try:
        data = json.loads(line)
        return Record(
            name=_text(data["name"]),
            size=data["size"],
            mtime_ns=data["mtime_ns"],
            sha256=data["sha256"],
            label=data["label"],
            source=_text(data["source"]),
            split=_text(data["split"]),
            video=_facts(data["video"]) if data.get("video") else None,
            flaw=_flaw(data["bad"]) if data.get("bad") else None,
        )
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no record ({type(error).__name__})") from error


def _facts(data: dict[str, Any]) -> VideoFacts:
    return VideoFacts(
        container=_text(data["container"]),
        codec=_text(data["codec"]),
        width=int(data["width"]),
        height=int(data["height"]),
        rotation=int(data["rotation"]),
        frames=int(data["frames"]),
        fps=None if data["fps"] is None else float(data["fps"]),
        time_base=_text(data["time_base"]),
        packed_times=_text(data["times"]),
        packed_order=None if data["order"] is None else _text(data["order"]),
        packed_keys=_text(data["keys"]),
        corrupt=int(data["corrupt"]),
    )


def _flaw(data: dict[str, Any]) -> Flaw:
    return Flaw(defect=Defect(data["class"]), reason=_text(data["reason"]), frame=data["frame"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r}")
    return value
