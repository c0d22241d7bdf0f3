"""Making the frame index of a file: one look at every packet, and one decoding of all of them.

Where packets do not lie in the file as the decoder gets them (a container that strips headers, or splits packets), there is
none, and such a file is read by decoding it from its start.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from cprspec.video.decode import BadVideo, open_video
from cprspec.video.packets import NONE_SHOWN, FrameIndex, make_decoder, make_packet


BLOCK_HEAD = 32
"""Bytes that a container may put between where it says that a packet lies and the packet."""

Places = list[tuple[int, int, bool]]
"""Offset, size and whether it is a key frame, of each packet."""


def index_frames(path: Path) -> FrameIndex:
    """The frame index of a video; without packets where they cannot be read from the file. Raises `BadVideo`."""
    with open_video(path) as container, path.open("rb", buffering=0) as file:
        stream = container.streams.video[0]
        kind = (stream.codec_context.name, stream.codec_context.codec_tag, stream.codec_context.extradata or b"")
        places = _places(container, stream, file.fileno())
        if places:
            shown, size = _decode_all(file.fileno(), kind, places)
            if size and len(set(shown)) == len(shown) and NONE_SHOWN not in shown:  # one frame of a packet, no more
                return _make(kind, size, places, shown)
    with open_video(path) as container:
        count, size = 0, None
        for frame in container.decode(container.streams.video[0]):
            count, size = count + 1, size or (frame.width, frame.height)
    if size is None:
        raise BadVideo(path, "no frame can be decoded")
    return _make(kind, size, [], list(range(count)))


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


def _decode_all(
    file: int, kind: tuple[str, str, bytes], places: Places
) -> tuple[list[int], tuple[int, int] | None]:
    """The packet of each frame in the order of presentation, and the size of the first frame; None if there is none."""
    decoder = make_decoder(*kind)
    shown: list[int] = []
    first: tuple[int, int] | None = None
    for number in range(len(places) + 1):
        if number < len(places):
            offset, size, _ = places[number]
            frames = decoder.decode(make_packet(os.pread(file, size, offset), number))
        else:
            frames = decoder.decode(None)
        for frame in frames:
            first = first or (frame.width, frame.height)
            shown.append(NONE_SHOWN if frame.pts is None else frame.pts)
    return shown, first


def _make(kind: tuple[str, str, bytes], size: tuple[int, int], places: Places, shown: list[int]) -> FrameIndex:
    offset_P, size_P, key_P = np.array(places, np.int64).reshape(-1, 3).T
    shown_P = np.full(len(places), NONE_SHOWN, np.int64)
    if places:
        shown_P[shown] = np.arange(len(shown))
    return FrameIndex(*kind, *size, len(shown), offset_P, size_P, key_P.astype(np.bool_), shown_P)
