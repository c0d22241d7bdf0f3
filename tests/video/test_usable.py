"""What a run starts with: bad videos of the index left out and counted, and nothing begun where none is usable."""

import shutil
from pathlib import Path

import pytest
from small_videos import make_video

from cprspec.components.datasets import Folder
from cprspec.data.collections import Collection
from cprspec.data.index_file import BESIDE, default_index
from cprspec.video.indexing import make_index_file
from cprspec.video.usable import usable_videos


@pytest.fixture
def root(tmp_path):
    """Three sound videos and two bad ones."""
    for name in "abc":
        make_video(tmp_path / "root" / f"{name}.mp4", 4)
    (tmp_path / "root" / "zero.mp4").touch()
    (tmp_path / "root" / "text\x1b.mp4").write_text("text " * 50)
    return tmp_path / "root"


def look(root, tmp_path):
    return usable_videos("clips", root, Folder().build(root), tmp_path / "cache")


def make_index(root, file):
    make_index_file(Collection("clips", (Folder(),), root).listed(), root, file, "clips", processes=1)


@pytest.mark.parametrize("beside", [True, False])
def test_bad_videos_of_the_index_are_left_out_and_counted(root, tmp_path, beside):
    file = root / BESIDE if beside else default_index(root, tmp_path / "cache")
    make_index(root, file)
    index, (problem,) = look(root, tmp_path)
    assert [v.name for v in index.videos] == ["a.mp4", "b.mp4", "c.mp4"]
    assert problem.warning and str(problem.place) == str(file)
    assert problem.message == "3 of 5 videos of data set 'clips' are usable: not-a-video 1, empty 1"
    assert "zero.mp4: an empty file" in (problem.hint or "")


def test_a_bad_file_that_changed_since_has_another_chance(root, tmp_path):
    make_index(root, default_index(root, tmp_path / "cache"))
    shutil.copy(root / "a.mp4", root / "zero.mp4")
    index, (problem,) = look(root, tmp_path)
    assert "zero.mp4" in [v.name for v in index.videos] and problem.message.startswith("4 of 5 ")


def test_videos_that_the_index_does_not_know_are_used_and_counted(root, tmp_path):
    make_index(root, default_index(root, tmp_path / "cache"))
    make_video(root / "new.mp4", 4)
    index, problems = look(root, tmp_path)
    assert "new.mp4" in [v.name for v in index.videos]
    assert problems[-1].warning and problems[-1].message.startswith("1 of 6 videos of data set 'clips' are not in its")


def test_an_index_of_which_nothing_is_usable_is_an_error(root, tmp_path):
    for name in "abc":
        (root / f"{name}.mp4").write_bytes(b"")
    make_index(root, default_index(root, tmp_path / "cache"))
    _, (problem,) = look(root, tmp_path)
    assert not problem.warning and problem.message.startswith("0 of 5 videos of data set 'clips' are usable: empty 4")


def test_an_index_that_cannot_be_read_is_a_warning(root, tmp_path):
    (root / BESIDE).write_text("no index")
    index, (problem,) = look(root, tmp_path)
    assert problem.warning and len(index.videos) == 5


def test_without_an_index_one_usable_video_is_enough(root, tmp_path):
    index, problems = look(root, tmp_path)
    assert problems == [] and len(index.videos) == 5


@pytest.mark.parametrize("many", [False, True])
def test_without_an_index_a_few_are_opened_and_none_of_them_usable_is_an_error(tmp_path, many):
    root = tmp_path / "root"
    root.mkdir()
    for i in range(60 if many else 25):
        (root / f"{i}.mp4").write_bytes(b"" if i % 2 else b"no video")
    if many:
        make_video(root / "00.mp4", 4)  # the second of all: not looked at
    _, (problem,) = look(root, tmp_path)
    which = " that were looked at, of 61," if many else ""
    assert problem.message.startswith(f"0 of 25 videos of data set 'clips'{which} are usable: ")
    assert not problem.warning and problem.place is not None and Path(problem.place.file) == root
