"""How long a video file should be by its own account: what a copy that was cut short still says at its beginning.

FFmpeg reads what is there of a truncated Matroska or AVI file and reports no error, so the sizes that three families of
containers declare for their media are read here: RIFF (AVI), ISO base media (mp4, mov), EBML (mkv, webm). Others say none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_PARTS = 10_000
"""Chunks or boxes at the top of a file that are looked at; files have a handful, fragmented ones thousands."""

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_UNFINISHED = (0, 2**32 - 1)
"""Lengths in files whose writer never came to their end."""

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


def declared_end(path: Path) -> int:
    """The byte after the last one of media that the container says it has, or 0 where it does not say. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            return _end_of_avi(file)
        if head[4:8] in _BOXES:
            return max((end for kind, end in _boxes(file) if kind in (b"mdat", b"moov", b"moof")), default=0)
        if head[:4] == _EBML:
            return _end_of_segment(file)
    return 0


def _end_of_avi(file: BinaryIO) -> int:
    """The end of the last list of frames: an index that is cut off behind it costs nothing. Without a list, of the whole."""
    end, at = 0, 0
    for _ in range(MAX_PARTS):
        file.seek(at)
        kind, size = struct.unpack("<4sI", _exactly(file, 8) or bytes(8))
        if not kind.strip(b"\0"):
            break
        if kind == b"RIFF" or (kind == b"LIST" and file.read(4) == b"movi"):
            end = 0 if size in _UNFINISHED else at + 8 + size
        # A large file has several RIFFs; what is inside them is walked like what is beside them.
        at += 12 if kind == b"RIFF" else 8 + size + size % 2
    return end


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The boxes at the top of the file: what each is called and where it ends; one that reaches to the end has no length."""
    at = 0
    for _ in range(MAX_PARTS):
        file.seek(at)
        head = _exactly(file, 8)
        if head is None:
            return
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            size = int.from_bytes(_exactly(file, 8) or b"")
        if size < 8:
            return
        yield kind, at + size
        at += size


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return 0
    file.seek(header, 1)
    size = _ebml_size(file) if file.read(4) == _SEGMENT else None
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A length of variable size; None where it is unknown, as in a file that was streamed."""
    first = _exactly(file, 1)
    if first is None or first == b"\0":
        return None
    length = 9 - first[0].bit_length()
    rest = _exactly(file, length - 1)
    if rest is None:
        return None
    value = int.from_bytes(bytes([first[0] & (0xFF >> length)]) + rest)
    return None if value == 2 ** (7 * length) - 1 else value


def _exactly(file: BinaryIO, size: int) -> bytes | None:
    data = file.read(size)
    return data if len(data) == size else None
