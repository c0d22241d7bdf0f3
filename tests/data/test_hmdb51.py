"""HMDB51: marks 0, 1 and 2, odd characters in names, titles as sources, and every wrong line or missing file at once."""

import pytest
from official_trees import HMDB_VIDEOS, hmdb51, write

from cprspec.data.hmdb51 import EXPECTED, read_hmdb51, survey_hmdb51
from cprspec.errors import CprspecError

LISTS = "testTrainMulti_7030_splits"


def problems_of(root, split=1):
    with pytest.raises(CprspecError) as caught:
        read_hmdb51(root, split)
    return [str(p).replace(str(root), "R") for p in caught.value.problems]


def names(index, part):
    return [index.videos[i].name for i in index.ids(part)]


def test_marks_say_the_split(tmp_path):
    index = read_hmdb51(hmdb51(tmp_path), 1)
    assert index.classes == ("brush_hair", "clap", "hug")
    assert names(index, "train") == sorted(f"{label}/{videos[0]}" for label, videos in HMDB_VIDEOS.items())
    assert names(index, "test") == sorted(f"{label}/{videos[1]}" for label, videos in HMDB_VIDEOS.items())
    assert len(index.videos) == 6  # the one marked 0 is left out
    other = read_hmdb51(tmp_path, 2)
    assert names(other, "train") == sorted(
        f"{label}/{name}" for label, videos in HMDB_VIDEOS.items() for name in videos[1:]
    )


def test_videos_of_a_title_and_class_are_one_source(tmp_path):
    index = read_hmdb51(hmdb51(tmp_path), 2)
    source = {v.name.partition("/")[2]: index.sources[v.source] for v in index.videos}
    assert source == {
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "brush_hair/April_09_brush_hair",
        "April_09_brush_hair_u_nm_np1_ba_goo_1.avi": "brush_hair/April_09_brush_hair",
        "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi": "clap/#20_Rhythm_clap",
        "Fans_[HQ]_(live);_&_more!_clap_u_cm_np2_le_bad_11.avi": "clap/Fans_[HQ]_(live);_&_more!_clap",
        "odd name with spaces.avi": "hug/odd name with spaces.avi",
        "A_hug_f_cm_np2_ri_med_3.avi": "hug/A_hug",
        "A_hug_h_nm_np2_fr_bad_4.avi": "hug/A_hug",
    }


def test_class_folders_may_lie_directly_under_the_root(tmp_path):
    whole, flat = hmdb51(tmp_path / "a"), tmp_path / "b"
    (whole / "hmdb51_org").rename(flat)
    (whole / LISTS).rename(flat / LISTS)
    again = hmdb51(tmp_path / "c")
    assert read_hmdb51(flat, 3).digest() == read_hmdb51(again, 3).digest()


def test_every_wrong_line_is_found_with_its_place(tmp_path):
    root = hmdb51(tmp_path)
    text = "a.avi 3\nb.avi\n../c.avi 1\n#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 1\n\n#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 2\n"
    write(root / LISTS, {"clap_test_split1.txt": text})
    (root / LISTS / "hug_test_split1.txt").write_bytes(b"\xff\xfe")
    r = f"R/{LISTS}"
    assert problems_of(root) == [
        f"{r}/clap_test_split1.txt:1: expected NAME.avi and a mark 0, 1 or 2, found 'a.avi 3'",
        f"{r}/clap_test_split1.txt:2: expected NAME.avi and a mark 0, 1 or 2, found 'b.avi'",
        f"{r}/clap_test_split1.txt:3: expected NAME.avi and a mark 0, 1 or 2, found '../c.avi 1'",
        f"{r}/clap_test_split1.txt:6: 'clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi' stands here a second time; "
        f"first at {r}/clap_test_split1.txt:4",
        f"{r}/hug_test_split1.txt: cannot read the list (not UTF-8)",
    ]


def test_a_renamed_and_a_wrongly_unpacked_video_are_found(tmp_path):
    root = hmdb51(tmp_path)
    clap, hug = root / "hmdb51_org/clap", root / "hmdb51_org/hug"
    (clap / "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi").rename(clap / "20_Rhythm_clap_u_nm_np1_fr_goo_0.avi")
    hug.rename(root / "inner")
    hug.mkdir()
    (root / "inner").rename(hug / "hug")
    assert problems_of(root) == [
        f"R/{LISTS}/clap_test_split1.txt:1: no file 'hmdb51_org/clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi'; "
        "a file like it lies at 'hmdb51_org/clap/20_Rhythm_clap_u_nm_np1_fr_goo_0.avi'",
        f"R/{LISTS}/hug_test_split1.txt:1: the 2 videos missing in 'hmdb51_org/hug' lie in another folder; "
        "in 'hmdb51_org/hug/hug'",
    ]


def test_a_video_marked_0_need_not_be_there(tmp_path):
    root = hmdb51(tmp_path)
    (root / "hmdb51_org/hug" / HMDB_VIDEOS["hug"][2]).unlink()
    assert len(read_hmdb51(root, 1).videos) == 6
    assert problems_of(root, 2) == [
        f"R/{LISTS}/hug_test_split2.txt:3: no file 'hmdb51_org/hug/A_hug_h_nm_np2_fr_bad_4.avi'"
    ]
    errors = [str(p) for p in survey_hmdb51(root).problems if not p.warning]
    assert errors == [f"{root}/{LISTS}/hug_test_split1.txt:3: no file 'hmdb51_org/hug/A_hug_h_nm_np2_fr_bad_4.avi'"]


def test_no_lists(tmp_path):
    write(tmp_path / "hmdb51_org/hug", HMDB_VIDEOS["hug"])
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"R/{LISTS}: no lists CLASS_test_split1.txt here; `cprspec data describe hmdb51`")


def test_the_survey_counts_every_split(tmp_path):
    root = hmdb51(tmp_path)
    write(root / "hmdb51_org/hug", ["stray.avi"])
    survey = survey_hmdb51(root)
    assert [(c.split, c.part, c.expected, c.listed, c.found, c.sources) for c in survey.counts] == [
        (1, "train", 3570, 3, 3, 3),
        (1, "test", 1530, 3, 3, 3),
        (2, "train", 3570, 4, 4, 3),
        (2, "test", 1530, 3, 3, 3),
        (3, "train", 3570, 4, 4, 3),
        (3, "test", 1530, 3, 3, 3),
    ]
    assert all(p.warning for p in survey.problems)
    assert str(survey.problems[-1]) == (
        f"{root}/hmdb51_org: warning: 1 video that no list names, as 'hug/stray.avi'; not used"
    )
    assert {v for v, _ in EXPECTED.values()} == {3570, 1530} == {51 * 70, 51 * 30}
