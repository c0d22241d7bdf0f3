"""Opening videos that nobody vouches for: the one door to the decoder, and the one kind of error behind it.

Only regular files are opened, with no protocol but `file` and no format that names further files; pictures are bounded before
one is decoded, and a file system that stalls is given up. What hangs or dies inside the decoder itself cannot be stopped
from within a process: `limits` and `spread` do that for passes over whole collections.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from cprspec.data.defects import Defect
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.video import limits
from cprspec.video.containers import declared_end

MAX_PIXELS = 9_400_000
"""Largest frame that is decoded: 4096 x 2294, so that no file takes all memory."""

MAX_ASPECT = 100
"""How many times longer one side of a frame may be than the other: enlarged to a clip, 8192 x 2 would fill the memory."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,ogg,asf,flv,h264,hevc"
"""Containers that hold their own frames, by FFmpeg's names. Playlists (hls, concat, dash, image2) open other files."""

STALL_S = 10.0
"""How long opening, or reading one packet, may wait for the file system."""

_HEADS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file it stands for; `git lfs pull` fetches that"),
    (b"#extm3u", "a playlist, which names other files"),
    (b"ffconcat", "a playlist, which names other files"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "XML"),
    (b"<mpd", "a playlist, which names other files"),
)
"""What files under a video's name turn out to be, by how they begin (small letters, white space left out)."""


class BadVideo(CprspecError):  # noqa: N818  it says what is bad
    """A file that cannot be read as a video, why, and what class of defect that is."""

    def __init__(self, path: Path, reason: str, defect: Defect = Defect.DAMAGED) -> None:
        super().__init__(Problem(f"not a readable video: {reason}", Place(str(path))), exit_code=1)
        self.path = path
        self.reason = reason
        self.defect = defect

    def __reduce__(self) -> tuple[type[BadVideo], tuple[Path, str, Defect]]:
        return BadVideo, (self.path, self.reason, self.defect)  # workers send it to their parent


def regular_file(path: Path) -> os.stat_result:
    """The facts of the file, which may be reached through links. `BadVideo` unless it is a regular file with content."""
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise _unreachable(path, error) from error
    if not stat.S_ISREG(facts.st_mode):  # a FIFO or a device would hang
        raise BadVideo(path, f"not a regular file but {_kind(facts.st_mode)}", Defect.NOT_A_FILE)
    if not facts.st_size:
        raise BadVideo(path, "an empty file", Defect.EMPTY)
    return facts


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened container of a regular file, and its stream of pictures. Whatever goes wrong inside is a `BadVideo`."""
    opened = False
    limits.progressing()
    try:
        _whole(path, regular_file(path).st_size)
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
        name = str(path.absolute())  # absolute: never read as `protocol:`
        with av.open(name, options=options, metadata_errors="replace", timeout=STALL_S) as container:
            stream = _moving(path, container)
            opened = True
            yield container, stream
    except CprspecError:
        raise
    except Exception as error:  # PyAV's errors are not one family
        raise _refused(path, error, opened) from error
    finally:
        limits.done()


def _whole(path: Path, size: int) -> None:
    """`BadVideo` for a file that its own container says is longer; one byte of padding may be missing."""
    end = declared_end(path)
    if end > size + 1:
        raise BadVideo(path, f"cut short: {size} of {end} bytes are there", Defect.TRUNCATED)


def _moving(path: Path, container: InputContainer) -> VideoStream:
    """The first stream of moving pictures, bounded before a frame of it is decoded; the picture on a cover is none."""
    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    stream = next(moving, None)
    if stream is None:
        raise BadVideo(path, "no video stream", Defect.NO_VIDEO)
    codec = stream.codec_context
    check_size(path, codec.width, codec.height)
    codec.options = {"max_pixels": str(MAX_PIXELS)}  # for frames that are larger than the header says
    codec.thread_count = 1  # many videos are decoded at once
    return stream


def check_size(path: Path, width: int, height: int) -> None:
    """`BadVideo` for frames too large or too long in one direction."""
    if not width * height:  # FFmpeg forgets a size over `max_pixels`
        raise BadVideo(path, f"frames of unknown size, or of more than {MAX_PIXELS} pixels", Defect.TOO_LARGE)
    size = f"frames of {width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise BadVideo(path, f"{size}; at most {MAX_PIXELS} pixels are decoded", Defect.TOO_LARGE)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadVideo(path, f"{size}: one side over {MAX_ASPECT} times the other", Defect.TOO_LARGE)


def _unreachable(path: Path, error: OSError | ValueError) -> BadVideo:
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return BadVideo(path, "links that lead in a circle", Defect.NOT_A_FILE)
    if number == errno.ENOENT and os.path.lexists(path):
        return BadVideo(path, "a link that leads nowhere", Defect.MISSING)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, None):
        return BadVideo(path, _reason(error), Defect.MISSING)
    return BadVideo(path, _reason(error), Defect.UNREADABLE)


def _refused(path: Path, error: Exception, opened: bool) -> BadVideo:
    """The error for what FFmpeg or PyAV said, before or after the container was opened."""
    if isinstance(error, MemoryError):
        return BadVideo(path, "it needs more memory than a video may", Defect.TOO_LARGE)
    if isinstance(error, PermissionError):
        return BadVideo(path, _reason(error), Defect.UNREADABLE)
    if isinstance(error, FileNotFoundError):  # between looking and opening
        return BadVideo(path, "it vanished", Defect.MISSING)
    if isinstance(error, av.ExitError):  # FFmpeg's word for the time limit
        return BadVideo(path, f"nothing could be read for {STALL_S:g} s", Defect.TOO_SLOW)
    if opened:
        return BadVideo(path, _reason(error), Defect.DAMAGED)
    return BadVideo(path, _looks_like(path) or _reason(error), Defect.NOT_A_VIDEO)


def _looks_like(path: Path) -> str | None:
    """What a file that is no video is instead, where its first bytes tell."""
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    except OSError:
        return None
    return next((what for start, what in _HEADS if head.startswith(start)), None)


def _reason(error: Exception) -> str:
    """One short line: what the operating system or the decoder says, without repeating the file's name."""
    text = getattr(error, "strerror", None) or str(error).split(":", 1)[0] or "no reason given"
    return clean(f"{text} ({type(error).__name__})", MAX_ECHO)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
