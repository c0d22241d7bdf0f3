"""A folder of hostile videos, made on the spot: what each is, and what must become of it.

`make(folder, names)` writes those of `KINDS` that are asked for. Nothing in here is a recording of anyone.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from attrs import frozen
from small_videos import make_video

from cprspec.data.defects import Defect

FRAMES = 30


@frozen
class Kind:
    """How a file is made, and what is right: the `defects` one of which it is refused for, or `frames` of `size`.

    `size` is (width, height) as stored. A lying header is found by a whole pass; who only reads gets the true frames.
    `quick` ones are in the quick tests.
    """

    make: Callable[[Path], object]
    defects: tuple[Defect, ...] = ()
    frames: int = FRAMES
    size: tuple[int, int] = (96, 72)
    quick: bool = True


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    picture_format: str = "rgb24",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode `pictures`, shown at `times` (in hundredths of a second; 15 a second without)."""
    with av.open(str(path), "w", container_options=container or {}) as out:
        stream = None
        for i, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=100 if times else 15, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
                if rotation:
                    stream.set_display_rotation(rotation)
            frame = av.VideoFrame.from_ndarray(picture, format=picture_format)
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 100)
            for packet in stream.encode(frame):
                out.mux(packet)
        assert stream is not None
        for packet in stream.encode():
            out.mux(packet)
    return path


def pictures(frames: int = FRAMES, width: int = 96, height: int = 72) -> list[np.ndarray]:
    """Noise blocks, each frame another, so that every frame costs bytes."""
    rng = np.random.default_rng(frames + width)
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(frames)]


def _good(path: Path, codec: str = "libx264", container: dict[str, str] | None = None, **options: str) -> Path:
    return write_video(path, pictures(), codec, container=container, **({"g": "10"} | options))


def _with_bytes(change: Callable[[bytes], bytes], **how: object) -> Callable[[Path], object]:
    """A good video, its bytes changed."""

    def make(path: Path) -> None:
        _good(path, **how)  # type: ignore[arg-type]
        path.write_bytes(change(path.read_bytes()))

    return make


def _share(start: float, end: float) -> Callable[[bytes], bytes]:
    return lambda data: data[int(start * len(data)) : int(end * len(data))]


def _without_middle(data: bytes) -> bytes:
    return data[: int(0.4 * len(data))] + data[int(0.6 * len(data)) :]


def _rotten(data: bytes) -> bytes:
    """One bit in every 400 bytes flipped behind the header."""
    changed = bytearray(data)
    for at in range(2000, len(changed), 400):
        changed[at] ^= 1 << (at // 400 % 8)
    return bytes(changed)


def _avi_field(name: bytes, offset: int, value: int) -> Callable[[bytes], bytes]:
    """Overwrite 32 bits at `offset` behind the chunk called `name`."""

    def change(data: bytes) -> bytes:
        at = data.index(name) + 8 + offset
        return data[:at] + struct.pack("<I", value) + data[at + 4 :]

    return change


def _lying_avi_count(data: bytes) -> bytes:
    return _avi_field(b"strh", 32, 5000)(_avi_field(b"avih", 16, 5000)(data))


def _mp4_size(width: int, height: int) -> Callable[[bytes], bytes]:
    """Overwrite the size in the sample description of a JPEG video, whose frames say the true one themselves."""

    def change(data: bytes) -> bytes:
        at = data.index(b"jpeg", data.index(b"stsd")) + 28
        return data[:at] + struct.pack(">HH", width, height) + data[at + 4 :]

    return change


def _hidden_huge(path: Path) -> None:
    """Frames of 8192 x 8192 in a container that says 32 x 32."""
    _huge(path)
    data = path.read_bytes()
    for tag in (b"\xb0", b"\xba"):  # PixelWidth, PixelHeight
        at = data.index(tag + b"\x82\x20\x00")
        data = data[: at + 2] + struct.pack(">H", 32) + data[at + 4 :]
    path.write_bytes(data)


def _audio(path: Path, cover: bool = False) -> None:
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=16000)
        picture = None
        if cover:
            picture = out.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        if picture is not None:
            still = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in [*picture.encode(still), *picture.encode()]:
                out.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        for packet in [*sound.encode(silence), *sound.encode()]:
            out.mux(packet)


def _size(width: int, height: int, frames: int = 3, codec: str = "ffv1", **options: str) -> Callable[[Path], object]:
    return lambda path: write_video(
        path, (np.full((height, width, 3), 90, np.uint8) for _ in range(frames)), codec, "yuv444p", **options
    )


def _huge(path: Path) -> None:
    gray = np.full((8192, 8192), 90, np.uint8)
    write_video(path, [gray], "mjpeg", "yuvj420p", picture_format="gray")


def _gray16(path: Path) -> None:
    ramp = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20
    write_video(path, [ramp + i for i in range(5)], "ffv1", "gray16le", picture_format="gray16le")


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _hls(target: str) -> Callable[[Path], object]:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    return _text(text)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(path.name)
    finally:
        os.chdir(here)


def _loop(path: Path) -> None:
    other = path.with_name("loop-other")
    path.symlink_to(other)
    other.symlink_to(path)


def _named(name: str) -> tuple[str, Kind]:
    return name, Kind(lambda path: make_video(path, 5), frames=5)


_WEB = "http://127.0.0.1:9/x.mp4"
_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    f'<Representation id="1"><BaseURL>{_WEB}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
_SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
_NO_VIDEO = (Defect.NOT_A_VIDEO,)
_CUT = (Defect.TRUNCATED,)
_HURT = (Defect.DAMAGED, Defect.TRUNCATED, Defect.LYING_HEADER)

KINDS: dict[str, Kind] = {
    "zero.mp4": Kind(_text(""), (Defect.EMPTY,)),
    "one_byte.mp4": Kind(_text("x"), _NO_VIDEO),
    "text.avi": Kind(_text("these are not the bytes of a video\n" * 50), _NO_VIDEO),
    "page.mp4": Kind(_text("<!DOCTYPE html><html><body>404 not found</body></html>"), _NO_VIDEO),
    "pointer.mp4": Kind(
        _text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n"), _NO_VIDEO
    ),
    "noise.mkv": Kind(lambda p: p.write_bytes(np.random.default_rng(0).bytes(50_000)), _NO_VIDEO),
    "nul.mov": Kind(lambda p: p.write_bytes(bytes(50_000)), _NO_VIDEO),
    "cut_head.mp4": Kind(_with_bytes(_share(0.1, 1.0)), _NO_VIDEO),
    "cut_middle.mkv": Kind(_with_bytes(_without_middle), _HURT),
    "cut_middle.mp4": Kind(_with_bytes(_without_middle, container={"movflags": "faststart"}), _HURT, quick=False),
    "cut_tail.mp4": Kind(_with_bytes(_share(0, 0.7)), _CUT),
    "cut_tail_faststart.mp4": Kind(_with_bytes(_share(0, 0.7), container={"movflags": "faststart"}), _CUT),
    "cut_tail.avi": Kind(_with_bytes(_share(0, 0.7), codec="mpeg4"), _CUT),
    "cut_tail.mkv": Kind(_with_bytes(_share(0, 0.7)), _CUT),
    "cut_tail.webm": Kind(_with_bytes(_share(0, 0.7), codec="libvpx", deadline="realtime"), _CUT, quick=False),
    "lying_count.avi": Kind(_with_bytes(_lying_avi_count, codec="mpeg4"), (Defect.LYING_HEADER,)),
    "lying_size.mov": Kind(_with_bytes(_mp4_size(60, 60), codec="mjpeg", strict="unofficial")),
    "lying_huge.mov": Kind(_with_bytes(_mp4_size(60_000, 60_000), codec="mjpeg", strict="unofficial")),
    "hidden_huge.mkv": Kind(_hidden_huge, (Defect.TOO_LARGE, Defect.DAMAGED), quick=False),
    "audio_only.mp4": Kind(_audio, (Defect.NO_VIDEO,)),
    "audio_with_cover.mp4": Kind(lambda p: _audio(p, cover=True), (Defect.NO_VIDEO,)),
    "one_frame.mp4": Kind(lambda p: write_video(p, pictures(1)), frames=1),
    "two_frames.mp4": Kind(lambda p: write_video(p, pictures(2)), frames=2),
    "odd.mkv": Kind(_size(97, 73), frames=3, size=(97, 73)),
    "smallest.mkv": Kind(_size(1, 1), frames=3, size=(1, 1)),
    "wide.mkv": Kind(_size(8192, 2), (Defect.TOO_LARGE,)),
    "tall.mkv": Kind(_size(2, 8192), (Defect.TOO_LARGE,)),
    "vfr.mp4": Kind(lambda p: write_video(p, pictures(8), times=[0, 3, 5, 20, 21, 40, 90, 91]), frames=8),
    "long_gap.mkv": Kind(lambda p: write_video(p, pictures(4), times=[0, 7, 360_000, 360_007]), frames=4),
    "rotated_90.mp4": Kind(lambda p: write_video(p, pictures(3), rotation=90), frames=3),
    "rotated_180.mp4": Kind(lambda p: write_video(p, pictures(3), rotation=180), frames=3, quick=False),
    "rotated_-90.mp4": Kind(lambda p: write_video(p, pictures(3), rotation=-90), frames=3, quick=False),
    "gray16.mkv": Kind(_gray16, frames=5, size=(64, 48)),
    "true_8192x8192.mkv": Kind(_huge, (Defect.TOO_LARGE,)),
    "fifo.mp4": Kind(os.mkfifo, (Defect.NOT_A_FILE,)),
    "device.mp4": Kind(lambda p: p.symlink_to("/dev/zero"), (Defect.NOT_A_FILE,)),
    "socket.mp4": Kind(_socket, (Defect.NOT_A_FILE,)),
    "dangling.mp4": Kind(lambda p: p.symlink_to("nowhere"), (Defect.MISSING,)),
    "loop.mp4": Kind(_loop, (Defect.NOT_A_FILE,)),
    "folder.mp4": Kind(Path.mkdir, (Defect.NOT_A_FILE,)),
    "concat.mp4": Kind(_text("ffconcat version 1.0\nfile 'inner.dat'\n"), _NO_VIDEO),
    "hls_file.mp4": Kind(_hls("inner.dat"), _NO_VIDEO),
    "hls_web.mp4": Kind(_hls(_WEB), _NO_VIDEO),
    "dash.mp4": Kind(_text(_DASH), _NO_VIDEO),
    "sdp.mp4": Kind(_text(_SDP), _NO_VIDEO),
    **dict(
        _named(name)
        for name in (
            "new\nline.mp4", "esc\x1b[31mred.mp4", "\u202erevo.mp4", "bad\udce9.mp4", "-rf.mp4", "http:x.mp4",
            "concat:a|b.mp4", "%03d.mp4", "pipe:0.mp4", "[@click=bell].mp4", " .mp4", "n" * 240 + ".mp4",
        )
    ),
}  # fmt: skip


def make(folder: Path, names: Iterable[str] = KINDS) -> Path:
    """Write the hostile videos called `names` into `folder`, and what the playlists among them ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    make_video(folder / "inner.mp4", 5).rename(folder / "inner.dat")
    for name in names:
        KINDS[name].make(folder / name)
    return folder
