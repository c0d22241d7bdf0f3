"""A collection against its index: silent damage is found by the digest, and without one by decoding."""

import os

import pytest
from small_videos import make_video

from cprspec.components.datasets import Folder
from cprspec.data.collections import Collection
from cprspec.data.index_file import IndexFile
from cprspec.video.checking import check_collection
from cprspec.video.indexing import make_index_file


@pytest.fixture
def root(tmp_path):
    for name in "abcdef":
        make_video(tmp_path / "root" / f"{name}.mp4", 8)
    (tmp_path / "root" / "bad.mp4").write_bytes(b"no video")
    return tmp_path / "root"


def listed(root):
    return Collection("clips", (Folder(),), root).listed()


def check(root, file, **how):
    with IndexFile.open(file) as index:
        return check_collection(listed(root), root, index, processes=1, **how)


def damage(path, *, silent=True, length=400):
    """Overwrite bytes in the middle; `silent`: as a disk does, without a new time."""
    facts, data = path.stat(), bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + length] = bytes(b ^ 0xFF for b in data[middle : middle + length])
    path.write_bytes(data)
    if silent:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_every_difference_is_found_and_named(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", processes=1)
    assert check(root, tmp_path / "i").findings == ()
    damage(root / "a.mp4", length=1)
    damage(root / "b.mp4", silent=False)
    make_video(root / "c.mp4", 9)
    (root / "d.mp4").unlink()
    os.utime(root / "e.mp4", (1, 1))
    make_video(root / "new.mp4", 4)
    checked = check(root, tmp_path / "i")
    assert [(f.name, f.state) for f in checked.findings] == [
        ("a.mp4", "damaged"), ("b.mp4", "changed"), ("c.mp4", "changed"), ("d.mp4", "missing"), ("new.mp4", "new"),
    ]  # fmt: skip
    assert checked.harmed and (checked.files, checked.sound, checked.bad) == (7, 2, 1)
    assert checked.counts == {"damaged": 1, "changed": 2, "missing": 1, "new": 1}


def test_new_files_are_no_harm(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", processes=1)
    make_video(root / "new.mp4", 4)
    assert not check(root, tmp_path / "i").harmed


def test_without_reading_only_what_shows_outside_is_found(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", processes=1)
    damage(root / "a.mp4")
    damage(root / "b.mp4", silent=False)
    (root / "d.mp4").unlink()
    found = check(root, tmp_path / "i", content=False).findings
    assert [(f.name, f.state) for f in found] == [("b.mp4", "changed"), ("d.mp4", "missing")]


def test_without_a_digest_frames_are_compared(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", digest=False, processes=1)
    assert check(root, tmp_path / "i").findings == ()
    damage(root / "a.mp4", length=3000)
    os.utime(root / "e.mp4", (1, 1))
    (found,) = check(root, tmp_path / "i").findings
    assert (found.name, found.state) == ("a.mp4", "damaged")


def test_a_bad_file_that_was_replaced_is_a_change(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", processes=1)
    make_video(root / "bad.mp4", 4)
    (found,) = check(root, tmp_path / "i").findings
    assert (found.name, found.state) == ("bad.mp4", "changed")


def test_damage_of_the_index_itself_is_harm(root, tmp_path):
    make_index_file(listed(root), root, tmp_path / "i", "clips", processes=1)
    lines = (tmp_path / "i").read_bytes().split(b"\n")
    lines[2] = b"\0" * len(lines[2])
    (tmp_path / "i").write_bytes(b"\n".join(lines))
    checked = check(root, tmp_path / "i")
    assert checked.harmed and checked.damaged_lines == (3,)
    assert [f.state for f in checked.findings] == ["new"]
