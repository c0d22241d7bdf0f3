"""UCF101: official layout and irregularities, sources by group, splits, and every wrong line or missing file at once."""

import os
import shutil
from pathlib import Path

import pytest
from official_trees import UCF_CLASSES, ucf101, ucf_lists, ucf_videos, write

from cprspec.data.ucf101 import EXPECTED, read_ucf101, survey_ucf101
from cprspec.errors import CprspecError

BESIDE = Path(os.environ.get("CPRSPEC_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
THREE_CLIPS = BESIDE / "ucf101-3clips"
"""Real clips lie beside the project and never in it."""

LISTS = "ucfTrainTestlist"


def problems_of(root, split=1):
    with pytest.raises(CprspecError) as caught:
        read_ucf101(root, split)
    return [str(p).replace(str(root), "R") for p in caught.value.problems]


def test_the_official_layout(tmp_path):
    index = read_ucf101(ucf101(tmp_path), 1)
    assert (
        index.classes
        == tuple(sorted(UCF_CLASSES))
        == ("ApplyEyeMakeup", "HammerThrow", "Hammering", "HandstandPushups")
    )
    assert (len(index.ids("train")), len(index.ids("test"))) == (16, 8)
    assert {v.name for v in index.videos} == set(ucf_videos([1, 8, 9]))
    assert all(v.path.is_file() for v in index.videos)
    for video in index.videos:
        folder, _, file = video.name.partition("/")
        assert index.classes[video.label] == folder
        assert index.sources[video.source] == f"v_{folder}_g{file.split('_g')[1][:2]}"
    assert len(index.sources) == 4 * 3


def test_splits_differ_and_share_their_videos(tmp_path):
    one, two = (read_ucf101(ucf101(tmp_path), split) for split in (1, 2))
    assert [v.name for v in one.videos] == [v.name for v in two.videos]
    assert {two.videos[i].name for i in two.ids("test")} == set(ucf_videos([8]))
    assert one.digest() != two.digest()


def test_class_folders_may_lie_directly_under_the_root(tmp_path):
    whole = ucf101(tmp_path / "a")
    flat = tmp_path / "b"
    shutil.copytree(whole / "UCF-101", flat)
    shutil.copytree(whole / LISTS, flat / "UCF101TrainTestSplits-RecognitionTask" / LISTS)
    assert read_ucf101(flat, 3).digest() == read_ucf101(whole, 3).digest()


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups"])
def test_capitals_of_folders_and_lists_do_not_matter(tmp_path, folder):
    root = ucf101(tmp_path)
    (root / "UCF-101/HandstandPushups").rename(root / "UCF-101" / folder)
    for path in (root / LISTS).glob("*list*.txt"):
        path.write_text(path.read_text().replace("HandstandPushups/", "HandStandPushups/"))
    index = read_ucf101(root, 1)
    assert index.classes[3] == "HandstandPushups"
    assert {v.name.split("/")[0] for v in index.videos if v.label == 3} == {folder}
    assert {index.sources[v.source] for v in index.videos if v.label == 3} == {
        f"v_HandstandPushups_g{group:02d}" for group in (1, 8, 9)
    }


def test_links_are_followed(tmp_path):
    whole = ucf101(tmp_path / "a")
    linked = tmp_path / "b"
    linked.mkdir()
    (linked / "UCF-101").symlink_to(whole / "UCF-101")
    (linked / LISTS).symlink_to(whole / LISTS)
    (whole / "UCF-101/again").symlink_to(whole)  # a circle
    assert read_ucf101(linked, 1).digest() == read_ucf101(whole, 1).digest()


def test_every_wrong_line_is_found_with_its_place(tmp_path):
    root = ucf101(tmp_path)
    train = root / LISTS / "trainlist01.txt"
    lines = train.read_text().splitlines()
    lines[0] = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 2"
    lines[1] = "nonsense\x1b[31m"
    lines[2] = lines[3]
    lines[4] = "Juggling/v_Juggling_g08_c01.avi 1"
    lines[5] = "Hammering/v_HammerThrow_g08_c01.avi 2"
    lines[6] = "../v_x_g01_c01.avi 1"
    train.write_text("\n".join(lines) + "\n\n")
    (root / LISTS / "classInd.txt").open("a").write("five Juggling\n4 Juggling\n")
    (root / LISTS / "testlist01.txt").unlink()
    r = f"R/{LISTS}"
    assert problems_of(root) == [
        f"{r}/classInd.txt:5: expected NUMBER CLASS, found 'five Juggling'",
        f"{r}/classInd.txt:6: class 'Juggling' or number 4 stands here again",
        f"{r}/trainlist01.txt:1: class 'ApplyEyeMakeup' has number 1 in classInd.txt, found 2",
        f"{r}/trainlist01.txt:2: expected CLASS/v_CLASS_gNN_cNN.avi [NUMBER], found 'nonsense\\x1b[31m'",
        f"{r}/trainlist01.txt:4: 'Hammering/v_Hammering_g08_c02.avi' stands here a second time; "
        f"first at {r}/trainlist01.txt:3",
        f"{r}/trainlist01.txt:5: class 'Juggling' has number 4 in classInd.txt, found 1",
        f"{r}/trainlist01.txt:6: 'Hammering/v_HammerThrow_g08_c01.avi' is a video of another class than its folder",
        f"{r}/trainlist01.txt:7: class '..' does not stand in classInd.txt",
        f"{r}/testlist01.txt: cannot read the list (No such file or directory)",
    ]  # fmt: skip


def test_missing_and_misplaced_videos(tmp_path):
    root = ucf101(tmp_path)
    videos = root / "UCF-101"
    shutil.rmtree(videos / "Hammering")
    (videos / "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi").unlink()
    (videos / "HammerThrow/v_HammerThrow_g01_c01.avi").rename(root / "v_HammerThrow_g01_c01.avi")
    assert problems_of(root) == [
        f"R/{LISTS}/trainlist01.txt:2: no file 'UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi'",
        f"R/{LISTS}/testlist01.txt:5: no file 'UCF-101/HammerThrow/v_HammerThrow_g01_c01.avi'; "
        "a file like it lies at 'v_HammerThrow_g01_c01.avi'",
        f"R/{LISTS}/trainlist01.txt:3: no videos in 'UCF-101/Hammering', and 6 are listed",
    ]


def test_many_missing_videos_are_cut_short(tmp_path):
    videos = ucf_videos(range(1, 31))
    root = write(tmp_path, ucf_lists(videos, []))
    write(root / "UCF-101", videos[:: len(videos) // 4])  # each class has one
    problems = problems_of(root)
    assert len(problems) == 101
    assert (
        problems[-1]
        == f"and {len(videos) - 4 - 100} problems more; `cprspec data describe NAME --root DIR` counts them by split"
    )


def test_no_lists(tmp_path):
    write(tmp_path / "UCF-101", ucf_videos([1]))
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(
        f"R/{LISTS}/classInd.txt: cannot read the list (No such file or directory); `cprspec data"
    )


def test_empty_lists(tmp_path):
    write(tmp_path, ucf_lists([], []))
    assert problems_of(tmp_path) == ["R: the lists name no videos"]


def test_the_survey_counts_every_split(tmp_path):
    root = ucf101(tmp_path)
    (root / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi").unlink()
    shutil.rmtree(root / "UCF-101/Hammering")
    write(root / "UCF-101", ["Hammering2/v_Hammering2_g01_c01.avi"])
    survey = survey_ucf101(root)
    assert [(c.split, c.part, c.expected, c.listed, c.found, c.sources, c.expected_sources) for c in survey.counts] == [
        (1, "train", 9537, 16, 11, 6, 1818),
        (1, "test", 3783, 8, 6, 3, 707),
        (2, "train", 9586, 16, 12, 6, 1818),
        (2, "test", 3734, 8, 5, 3, 707),
        (3, "train", 9624, 16, 11, 6, 1818),
        (3, "test", 3696, 8, 6, 3, 707),
    ]
    errors = [str(p).replace(str(root), "R") for p in survey.problems if not p.warning]
    assert errors == [
        f"R/{LISTS}/trainlist01.txt:2: no file 'UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi'",
        f"R/{LISTS}/trainlist01.txt:3: no videos in 'UCF-101/Hammering', and 6 are listed",
    ]
    warnings = [str(p).replace(str(root), "R") for p in survey.problems if p.warning]
    assert warnings[0] == "R: warning: the lists name 16 train videos in split 1, the official ones 9537"
    assert warnings[-1].startswith(
        "R/UCF-101: warning: 1 video that no list names, as 'Hammering2/v_Hammering2_g01_c01.avi'"
    )


def test_the_official_counts_agree_with_each_other():
    """Every split has all 13,320 videos and 25 groups of 101 classes."""
    for split in (1, 2, 3):
        parts = [EXPECTED[split, part] for part in ("train", "test")]
        assert sum(videos for videos, _ in parts) == 13_320
        assert sum(sources for _, sources in parts) == 25 * 101


@pytest.mark.skipif(not THREE_CLIPS.is_dir(), reason="needs the three clips beside the project")
def test_real_clips(tmp_path):
    for folder in ("ApplyEyeMakeup", "BaseballPitch", "Rowing"):
        (tmp_path / folder).symlink_to(THREE_CLIPS / folder)
    names = [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        "BaseballPitch/v_BaseballPitch_g01_c01.avi",
        "Rowing/v_Rowing_g16_c03.avi",
    ]
    lists = {"classInd.txt": "1 ApplyEyeMakeup\n7 BaseballPitch\n76 Rowing\n", "trainlist01.txt": f"{names[2]} 76\n"}
    write(tmp_path / LISTS, {**lists, "testlist01.txt": f"{names[0]}\n{names[1]}\n"})
    index = read_ucf101(tmp_path, 1)
    assert [v.name for v in index.videos] == names
    assert index.sources == ("v_ApplyEyeMakeup_g01", "v_BaseballPitch_g01", "v_Rowing_g16")
    assert index.ids("train").tolist() == [2]
    assert [v.size for v in index.videos] == [(THREE_CLIPS / name).stat().st_size for name in names]
