"""Any frames of a video from its compressed packets, read where they lie in the file: no container is opened, nothing guessed.

A *frame index* says where each packet is, which are key frames, and which frame of the order of presentation comes out of it.
It is made once by decoding the file, so a frame means the same here as to `read_frames`. Seeking by time does not: AVI keeps
no times of presentation, and where B-frames are what FFmpeg guesses is off by one to three frames.

What costs time: a decoder is kept for each kind of stream, since making one costs as much as ten frames; frames that nothing
refers to are skipped unless they are wanted; packets are copied into FFmpeg's own memory, since decoders read on past their
end, and what lies behind a Python object decides what they see.

Legend: P packets in the order of decoding, N frames in the order of presentation.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from attrs import frozen
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cprspec.video.opening import MAX_PIXELS, BadVideo

Ints = NDArray[np.int64]

NONE_SHOWN = -1
"""In place of a frame's position: nothing comes out of this packet."""

SMALLEST_CODED = 8
"""Bytes of an MPEG-4 packet below which it is an empty frame, which stands for another one."""

DECODERS = 8
"""Decoders that one process keeps: one for each kind of stream it has lately read."""

_decoders: OrderedDict[tuple[str, str, bytes], VideoCodecContext] = OrderedDict()


@frozen(eq=False)
class FrameIndex:
    """Where the frames of one video are. `codec`, `tag` and `extradata` make its decoder.

    `width` and `height` are those of the first frame as it is coded, pixels; `quarters` says how many quarters,
    counter-clockwise, turn it upright.
    `offset_P`, `size_P` place a packet in the file, in bytes; `key_P` marks key frames; `shown_P` is the position of the
    packet's frame, or NONE_SHOWN. `frames` is N. Without packets, the file can only be decoded from its start.
    """

    codec: str
    tag: str
    extradata: bytes
    width: int
    height: int
    quarters: int
    frames: int
    offset_P: Ints
    size_P: Ints
    key_P: NDArray[np.bool_]
    shown_P: Ints

    def to_json(self) -> dict[str, Any]:
        """As a table of plain values."""
        return {
            "codec": self.codec, "tag": self.tag, "extradata": self.extradata.hex(),
            "width": self.width, "height": self.height, "quarters": self.quarters, "frames": self.frames,
            "offset": self.offset_P.tolist(), "size": self.size_P.tolist(),
            "key": np.flatnonzero(self.key_P).tolist(), "shown": self.shown_P.tolist(),
        }  # fmt: skip

    @property
    def placed(self) -> bool:
        """Whether packets can be read from the file."""
        return len(self.offset_P) > 0

    @property
    def may_skip(self) -> bool:
        """Whether frames that nothing refers to can be left out. MPEG-4's empty frames repeat what was decoded last."""
        return self.codec != "mpeg4" or int(self.size_P.min()) >= SMALLEST_CODED

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> FrameIndex:
        """The inverse of `to_json`. KeyError, TypeError, ValueError or IndexError for anything else."""
        offset, size, shown = (np.array(table[name], np.int64) for name in ("offset", "size", "shown"))
        key = np.zeros(len(offset), np.bool_)
        key[np.array(table["key"], np.int64)] = True
        width, height, quarters, frames = (int(table[name]) for name in ("width", "height", "quarters", "frames"))
        kind = (str(table["codec"]), str(table["tag"]), bytes.fromhex(table["extradata"]))
        return cls(*kind, width, height, quarters, frames, offset, size, key, shown)


@frozen
class Stretch:
    """Packets `first` to `last` in the order of decoding, fed one after the other to a decoder that starts anew."""

    first: int
    last: int


def plan(index: FrameIndex, wanted: Sequence[int]) -> list[Stretch]:
    """The fewest packets that `wanted`, frames in ascending order, can be decoded from."""
    packet_of = np.full(index.frames, -1, np.int64)
    shown = index.shown_P >= 0
    packet_of[index.shown_P[shown]] = np.flatnonzero(shown)
    keys = np.flatnonzero(index.key_P)
    stretches: list[Stretch] = []
    spans = []
    for frame in wanted:
        packet = int(packet_of[frame])
        # Frames that are shown before a key frame may come after it in the file and refer to what was before it.
        before = [int(k) for k in keys[keys <= packet] if 0 <= index.shown_P[k] <= frame]
        spans.append((before[-1] if before else 0, packet))
    for first, last in sorted(spans):
        if stretches and first <= stretches[-1].last + 1:
            stretches[-1] = Stretch(stretches[-1].first, max(last, stretches[-1].last))
        else:
            stretches.append(Stretch(first, last))
    return stretches


def read_packets(path: Path, index: FrameIndex, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames `wanted` (ascending, each once), each with its position, as they come out. Raises `BadVideo`.

    A frame is valid until the next one is asked for.
    """
    missing = set(wanted)
    if missing and not 0 <= min(missing) <= max(missing) < index.frames:
        raise BadVideo(path, f"has {index.frames} frames, and frame {max(missing)} is asked for")
    try:
        with path.open("rb", buffering=0) as file:
            for first in (True, False):
                skip = first and index.may_skip
                # A second time, from the start: what follows a key frame may need more, as where streams refresh bit by bit.
                for stretch in plan(index, sorted(missing)) if first else [Stretch(0, len(index.size_P) - 1)]:
                    for position, frame in _decode(file.fileno(), index, stretch, missing, skip):
                        missing.discard(position)
                        yield position, frame
                if not missing:
                    return
    except BadVideo:
        raise
    except Exception as error:  # PyAV's errors are not one family
        _decoders.clear()
        reason = getattr(error, "strerror", None) or str(error) or "no reason given"
        raise BadVideo(path, f"{reason} ({type(error).__name__})") from error
    raise BadVideo(path, f"frame {min(missing)} does not come out any more; was the file changed?")


def _decode(
    file: int, index: FrameIndex, stretch: Stretch, wanted: set[int], skip: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    decoder = _decoder(index)
    start = int(index.offset_P[stretch.first : stretch.last + 1].min())
    end = int((index.offset_P + index.size_P)[stretch.first : stretch.last + 1].max())
    content = os.pread(file, end - start, start)
    try:
        for number in range(stretch.first, stretch.last + 1):
            shown = int(index.shown_P[number])
            decoder.skip_frame = "NONREF" if skip and shown not in wanted else "DEFAULT"
            offset, size = int(index.offset_P[number]) - start, int(index.size_P[number])
            yield from _wanted(decoder.decode(make_packet(content[offset : offset + size], number)), index, wanted)
        yield from _wanted(decoder.decode(None), index, wanted)
    finally:
        decoder.flush_buffers()  # also after an error, or when nobody asks for the rest


def _wanted(frames: list[av.VideoFrame], index: FrameIndex, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in frames:
        position = int(index.shown_P[frame.pts]) if frame.pts is not None else NONE_SHOWN
        if position in wanted:
            yield position, frame


def make_packet(content: bytes, number: int) -> av.Packet[VideoStream]:
    """A packet with its number in place of its times, so that the frame that comes out of it tells where it belongs."""
    packet = cast("av.Packet[VideoStream]", av.Packet(len(content)))
    packet.update(content)
    packet.pts = packet.dts = number
    return packet


def _decoder(index: FrameIndex) -> VideoCodecContext:
    key = (index.codec, index.tag, index.extradata)
    if key not in _decoders:
        _decoders[key] = make_decoder(*key)
        if len(_decoders) > DECODERS:
            _decoders.popitem(last=False)
    _decoders.move_to_end(key)
    return _decoders[key]


def make_decoder(codec: str, tag: str, extradata: bytes) -> VideoCodecContext:
    """A decoder on one thread, bounded. The tag counts: it tells MPEG-4 decoders whose encoder's habits to follow."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    if extradata:
        decoder.extradata = extradata
    decoder.codec_tag = tag
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder
