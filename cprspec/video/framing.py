"""Making the frame index of a file: one look at every packet, and one decoding of all of them.

Where packets do not lie in the file as the decoder gets them (a container that strips headers, or splits packets), there is
none, and such a file is read by decoding it from its start.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from cprspec.video.decode import quarter_turns
from cprspec.video.opening import BadVideo, open_video
from cprspec.video.packets import NONE_SHOWN, FrameIndex, make_decoder, make_packet

BLOCK_HEAD = 32
"""Bytes that a container may put between where it says that a packet lies and the packet."""

Places = list[tuple[int, int, bool]]
"""Offset, size and whether it is a key frame, of each packet."""


def index_frames(path: Path) -> FrameIndex:
    """The frame index of a video; without packets where they cannot be read from the file. Raises `BadVideo`."""
    with open_video(path) as (container, stream), path.open("rb", buffering=0) as file:
        codec = stream.codec_context
        kind = (codec.name, codec.codec_tag, codec.extradata or b"")
        places = _places(container, stream, file.fileno())
        shown = _decode_all(file.fileno(), kind, places)
    look, count = _look(path, all_frames=not shown)
    return _make(kind, look, places if shown else [], shown or list(range(count)))


def _look(path: Path, all_frames: bool) -> tuple[tuple[int, int, int], int]:
    """Width, height and quarter turns of the first frame, which only the container tells; how many frames were decoded."""
    look, count = None, 0
    with open_video(path) as (container, stream):
        for frame in container.decode(stream):
            look, count = look or (frame.width, frame.height, quarter_turns(frame)), count + 1
            if not all_frames:
                break
    if look is None:
        raise BadVideo(path, "no frame can be decoded")
    return look, count


def _places(container: InputContainer, stream: VideoStream, file: int) -> Places:
    """Where the packets lie; empty if one of them does not lie in the file as the decoder gets it."""
    places: Places = []
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if packet.pos is None:
            return []
        found = os.pread(file, BLOCK_HEAD + packet.size, packet.pos).find(bytes(packet))
        if found < 0:
            return []
        places.append((packet.pos + found, packet.size, bool(packet.is_keyframe)))
    return places


def _decode_all(file: int, kind: tuple[str, str, bytes], places: Places) -> list[int]:
    """The packet of each frame in the order of presentation; empty where a frame does not tell, or two name one packet."""
    if not places:
        return []
    decoder = make_decoder(*kind)
    shown: list[int] = []
    for number, (offset, size, _) in enumerate(places):
        shown += _numbers(decoder.decode(make_packet(os.pread(file, size, offset), number)))
    shown += _numbers(decoder.decode(None))
    return shown if len(set(shown)) == len(shown) and NONE_SHOWN not in shown else []


def _numbers(frames: list[av.VideoFrame]) -> list[int]:
    return [NONE_SHOWN if frame.pts is None else frame.pts for frame in frames]


def _make(kind: tuple[str, str, bytes], look: tuple[int, int, int], places: Places, shown: list[int]) -> FrameIndex:
    offset_P, size_P, key_P = np.array(places, np.int64).reshape(-1, 3).T
    shown_P = np.full(len(places), NONE_SHOWN, np.int64)
    if places:
        shown_P[shown] = np.arange(len(shown))
    return FrameIndex(*kind, *look, len(shown), offset_P, size_P, key_P.astype(np.bool_), shown_P)
