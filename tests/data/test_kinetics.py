"""Kinetics-style lists: clips found wherever they lie, a share of them missing, and every wrong line at once."""

import pytest
from official_trees import write

from cprspec.data.kinetics import read_kinetics, survey_kinetics
from cprspec.errors import CprspecError

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
TRAIN = HEADER + (
    'abseiling,-abcdefghi_,10,20,train,0\n"playing ""x"", y",Aaaaaaaaaaa,0,10.0,train,0\n'
    "abseiling,aaaaaaaaaaa,5,15,train,0\nabseiling,aaaaaaaaaaa,105,115,train,0\n"
)
VAL = HEADER + "abseiling,vvvvvvvvvvv,1,11,val,0\n"
FILES = (
    "train/abseiling/-abcdefghi__000010_000020.mp4",
    "flat/Aaaaaaaaaaa.mkv",
    "aaaaaaaaaaa_000005_000015.mp4",
    "train/abseiling/aaaaaaaaaaa_000105_000115.webm",
    "val/vvvvvvvvvvv_000001_000011.mp4",
)


def lay_out(root, files=FILES, train=TRAIN, val=VAL):
    write(root, files)
    return write(root, {"annotations/train.csv": train, "annotations/val.csv": val})


def read(root, max_missing=0.0, test="annotations/val.csv"):
    return read_kinetics(root, "annotations/train.csv", test, max_missing)


def problems_of(root, **options):
    with pytest.raises(CprspecError) as caught:
        read(root, **options)
    return [str(p).replace(str(root), "R") for p in caught.value.problems]


def test_clips_are_found_wherever_they_lie(tmp_path):
    index = read(lay_out(tmp_path))
    assert {v.name for v in index.videos} == set(FILES)
    assert index.classes == ("abseiling", 'playing "x", y')
    by_name = {v.name: v for v in index.videos}
    assert index.classes[by_name[FILES[1]].label] == 'playing "x", y'
    assert [index.sources[by_name[name].source] for name in FILES] == [
        "-abcdefghi_", "Aaaaaaaaaaa", "aaaaaaaaaaa", "aaaaaaaaaaa", "vvvvvvvvvvv",
    ]  # fmt: skip
    assert by_name[FILES[4]].split == "test" and len(index.ids("train")) == 4


def test_without_a_test_list(tmp_path):
    index = read(lay_out(tmp_path), test="")
    assert index.splits == ("train",)


def test_a_list_without_labels(tmp_path):
    train = "youtube_id,time_start,time_end\n-abcdefghi_,10,20\n"
    assert not read(lay_out(tmp_path, train=train)).labelled


def test_some_may_be_missing(tmp_path):
    root = lay_out(tmp_path, FILES[1:])
    assert len(read(root, 0.25).videos) == 4
    assert problems_of(root, max_missing=0.2) == [
        "R/annotations/train.csv: 1 of 4 listed clips are not there, 25.0%; 20.0% may be missing; "
        "add them, or raise max_missing",
        "R/annotations/train.csv:2: no clip '-abcdefghi__000010_000020'",
    ]


def test_every_wrong_line_is_found_with_its_place(tmp_path):
    train = HEADER + (
        "a,x,1,2,train,0,more\na,,1,2,train,0\na,../x,1,2,train,0\na,x,one,2,train,0\na,x,1,2.5,train,0\n"
        "abseiling,-abcdefghi_,10,20,train,0\nabseiling,-abcdefghi_,10,20,train,0\nabseiling,vvvvvvvvvvv,1,11,train,0\n"
    )
    root = lay_out(tmp_path, [*FILES, "again/-abcdefghi__000010_000020.mp4"], train)
    r = "R/annotations"
    assert problems_of(root, max_missing=1.0) == [
        f"{r}/train.csv:2: more values than the header has columns",
        f"{r}/train.csv:3: youtube_id '' cannot be part of a file's name",
        f"{r}/train.csv:4: youtube_id '../x' cannot be part of a file's name",
        f"{r}/train.csv:5: time_start must be whole seconds, found 'one'",
        f"{r}/train.csv:6: time_end must be whole seconds, found '2.5'",
        f"{r}/train.csv:7: clip '-abcdefghi__000010_000020' lies in several places; "
        "keep one of 'again/-abcdefghi__000010_000020.mp4' and 'train/abseiling/-abcdefghi__000010_000020.mp4'",
        f"{r}/train.csv:8: clip '-abcdefghi__000010_000020' stands here a second time; first at {r}/train.csv:7",
        f"{r}/val.csv:2: clip 'vvvvvvvvvvv_000001_000011' stands here a second time; first at {r}/train.csv:9",
    ]


def test_wrong_lists(tmp_path):
    root = lay_out(tmp_path, train="label,id\na,b\n")
    (root / "annotations/val.csv").unlink()
    first, second = problems_of(root)
    assert first.startswith(
        "R/annotations/train.csv:1: no column 'youtube_id' in the list's header: label, id; the first"
    )
    assert second.startswith("R/annotations/val.csv: cannot read the list (")


def test_the_survey_warns_of_missing_clips(tmp_path):
    survey = survey_kinetics(lay_out(tmp_path, FILES[:3]), "annotations/train.csv", "annotations/val.csv")
    assert [(c.part, c.listed, c.found, c.sources) for c in survey.counts] == [("train", 4, 3, 3), ("test", 1, 0, 0)]
    assert [str(p).replace(str(tmp_path), "R") for p in survey.problems] == [
        "R/annotations/train.csv:5: warning: no clip 'aaaaaaaaaaa_000105_000115'",
        "R/annotations/val.csv:2: warning: no clip 'vvvvvvvvvvv_000001_000011'",
    ]
