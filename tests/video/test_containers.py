"""How long a file should be by its own account, for each family of containers, whole and cut."""

import pytest
from hostile_videos import pictures, write_video

from cprspec.video.containers import declared_end

MADE = [
    ("x.avi", "mpeg4", {}), ("x.mp4", "libx264", {}), ("fast.mp4", "libx264", {"movflags": "faststart"}),
    ("fragmented.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), ("x.mov", "mpeg4", {}),
    ("x.mkv", "libx264", {}), ("x.webm", "libvpx", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "container"), MADE)
def test_a_whole_file_ends_where_it_says_and_a_cut_one_does_not(tmp_path, name, codec, container):
    path = write_video(tmp_path / name, pictures(6, 64, 48), codec, container=container, g="2")
    data = path.read_bytes()
    end = declared_end(path)
    assert len(data) // 2 < end <= len(data)
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        assert declared_end(path) > len(data) * share or "fragmented" in name


@pytest.mark.parametrize(
    "data",
    [
        b"", b"RIFF", b"RIFF\xff\xff\xff\xffAVI ", b"RIFF\0\0\0\0AVI " + b"LIST\xff\xff\xff\xffmovi", b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0ftyp", b"\0\0\0\1ftyp", b"\0\0\0\1mdat" + b"\xff" * 7,
        b"\0\0\0\x08free" * 20_000, b"text " * 1000,
    ],
)  # fmt: skip
def test_nonsense_declares_nothing(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert declared_end(path) == 0


def test_a_streamed_matroska_file_does_not_say(tmp_path):
    path = write_video(tmp_path / "x.mkv", pictures(3, 64, 48), container={"live": "1"})
    assert declared_end(path) == 0
