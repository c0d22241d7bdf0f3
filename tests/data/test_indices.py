"""Data sets from folders and manifests: ids, classes, sources, splits, identity, and every wrong line at once."""

import shutil

import numpy as np
import pytest

from cprspec.data.folder import read_folder
from cprspec.data.manifest import read_manifest
from cprspec.errors import CprspecError

UCF = ("jump/v_g02_c01.avi", "jump/v_g01_c02.avi", "jump/v_g01_c01.avi", "dive/v_g01_c01.avi")


def lay_out(root, names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * (i + 1))
    return root


def manifest(root, text):
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def problems_of(root, **options):
    with pytest.raises(CprspecError) as caught:
        read_manifest(root, "manifest.csv", options.get("source_pattern"))
    return [str(p).replace(str(root), "R") for p in caught.value.problems]


def test_a_folder_per_class(tmp_path):
    index = read_folder(lay_out(tmp_path, [*UCF, "jump/notes.txt"]), r"^(.*_g\d+)", r"_c02", 0.0)
    assert [v.name for v in index.videos] == sorted(UCF)
    assert index.classes == ("dive", "jump")
    assert index.labels.tolist() == [0, 1, 1, 1]
    assert [index.sources[s] for s in index.source_ids] == ["dive/v_g01", "jump/v_g01", "jump/v_g01", "jump/v_g02"]
    assert [v.size for v in index.videos] == [4, 3, 2, 1]
    assert index.ids("train").tolist() == [0, 1, 3] and index.ids("test").tolist() == [2]
    assert index.ids("test").dtype == np.int64
    assert index.labelled and index.splits == ("train", "test")


def test_a_flat_folder_has_no_labels_and_each_video_is_its_own_source(tmp_path):
    index = read_folder(lay_out(tmp_path, ["b.mp4", "a.mp4"]), None, None, 0.0)
    assert index.classes == () and index.labels.tolist() == [-1, -1] and not index.labelled
    assert index.sources == ("a.mp4", "b.mp4") and index.splits == ("train",)


def test_holdout_takes_whole_sources_by_name_alone(tmp_path):
    names = [f"c/s{s:03d}_{i}.mp4" for s in range(200) for i in range(2)]
    index = read_folder(lay_out(tmp_path, names), r"(s\d+)", None, 0.25)
    held = {index.sources[v.source] for v in index.videos if v.split == "test"}
    assert held.isdisjoint({index.sources[v.source] for v in index.videos if v.split == "train"})
    assert 30 <= len(held) <= 70
    lay_out(tmp_path, ["c/s900_0.mp4"])
    again = read_folder(tmp_path, r"(s\d+)", None, 0.25)
    assert held - {"s900"} == {again.sources[v.source] for v in again.videos if v.split == "test"} - {"s900"}


@pytest.mark.parametrize(
    ("pattern", "said"), [("(", "not a regular expression"), ("g1", "has 0 groups"), ("(a)(b)", "has 2 groups")]
)
def test_a_wrong_pattern_is_explained(tmp_path, pattern, said):
    with pytest.raises(CprspecError, match=said):
        read_folder(lay_out(tmp_path, UCF), pattern, None, 0.0)


def test_an_empty_or_missing_folder_is_an_error(tmp_path):
    for root in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CprspecError):
            read_folder(root, None, None, 0.0)


def test_the_identity_follows_the_content_and_not_the_place(tmp_path):
    lay_out(tmp_path / "one", UCF)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    digest = read_folder(tmp_path / "one", None, None, 0.0).digest()
    assert read_folder(tmp_path / "two", None, None, 0.0).digest() == digest
    others = [read_folder(tmp_path / "two", r"_(g\d+)", None, 0.0), read_folder(tmp_path / "two", None, "c02", 0.0)]
    (tmp_path / "two" / UCF[0]).write_bytes(b"longer than before")
    others.append(read_folder(tmp_path / "two", None, None, 0.0))
    (tmp_path / "one" / UCF[0]).rename(tmp_path / "one/jump/other.avi")
    others.append(read_folder(tmp_path / "one", None, None, 0.0))
    assert len({digest, *(i.digest() for i in others)}) == 5


def test_a_manifest_gives_labels_sources_and_splits(tmp_path):
    lay_out(tmp_path, UCF)
    rows = f"path,label,source,split,fps\n{UCF[0]},=jump!,s1,test,25\n./{UCF[1]},,,,\n"
    index = read_manifest(manifest(tmp_path, rows), "manifest.csv", r"(g\d+)")
    assert [(v.name, v.label, index.sources[v.source], v.split) for v in index.videos] == [
        (UCF[1], None, "g01", "train"),
        (UCF[0], 0, "s1", "test"),
    ]
    assert index.classes == ("=jump!",) and not index.labelled


def test_every_wrong_line_is_named_at_once(tmp_path):
    lay_out(tmp_path, UCF)
    outside = tmp_path.parent / "outside.mp4"
    outside.write_bytes(b"x")
    lines = [
        "path,label,split",
        f"{UCF[0]},jump,train",
        "gone.mp4,jump,train",
        f"{UCF[1]},jump,dev",
        "../outside.mp4,jump,train",
        f"{outside},jump,train",
        f"./{UCF[0]},jump,train",
        f"{'n' * 5000}.mp4,jump,train",
        "bell\x07.mp4,jump,train",
        ",jump,train",
        f"{UCF[2]},jump,train,more",
        f'{UCF[3]},"two\nlines",dev',
    ]
    found = problems_of(manifest(tmp_path, "\n".join(lines) + "\n"))
    expected = [
        (3, "no file 'gone.mp4'"), (4, "split 'dev' is not one of train, test"), (5, "'../outside.mp4' does not lie below"),
        (6, "does not lie below"), (7, "a second time"), (8, "no file 'nnn"), (9, "no file 'bell\\x07.mp4'"),
        (10, "path '' does not"), (11, "more values than"), (13, "split 'dev'"),
    ]  # fmt: skip
    assert len(found) == len(expected)
    for message, (line, text) in zip(found, expected, strict=True):
        assert message.startswith(f"R/manifest.csv:{line}: ") and text in message
        assert len(message) < 400


@pytest.mark.parametrize("text", ["", "file,label\na.mp4,x\n", "path,label\n", "path\n\udc80\n"])
def test_a_manifest_without_a_path_column_or_rows_is_an_error(tmp_path, text):
    (tmp_path / "manifest.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert len(problems_of(tmp_path)) == 1
