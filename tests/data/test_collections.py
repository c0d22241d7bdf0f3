"""What `data index` and `data check` are about: a card and a root, or an experiment's data sets, each root once."""

import os

import pytest

from cprspec.components.datasets import Folder, Manifest
from cprspec.data.collections import find_collections
from cprspec.errors import CprspecError
from cprspec.spec.registry import builtin_registry

SPEC = """format = 1
batch_size = 8
train_on = "a"
[dataset.a]
use = "manifest"
file = "a.csv"
root = "videos"
[dataset.b]
use = "manifest"
file = "b.csv"
root = "videos"
[clip]
frames = 8
size = 32
[backbone]
use = "tiny"
[framework]
queue_size = 64
[miner]
use = "coclr"
[phase.rgb]
views = ["rgb"]
epochs = 10
"""


@pytest.fixture
def registry():
    return builtin_registry()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "videos" / "jump").mkdir(parents=True)
    (tmp_path / "x.toml").write_text(SPEC)
    return tmp_path


def test_a_card_and_its_root(registry, tmp_path):
    for text in ("videos", "folder=videos"):
        (found,) = find_collections("folder", registry, [text])
        assert (found.name, found.datasets, found.root) == ("folder", (Folder(),), tmp_path / "videos")


def test_generated_videos_are_no_collection(registry, tmp_path):
    with pytest.raises(CprspecError, match="'motion' has no collection of videos: they are made when they are used"):
        find_collections("motion", registry, [])
    made, other = '\n[dataset.c]\nuse = "motion"\n', tmp_path / "other"
    other.mkdir()
    (tmp_path / "x.toml").write_text(SPEC + made)
    found = find_collections("x.toml", registry, ["b=other"])
    assert [collection.name for collection in found] == ["a", "b"]


def test_data_sets_of_one_root_are_one_collection(registry, tmp_path):
    (tmp_path / "videos/a.csv").write_text("path,label,split\njump/1.mp4,jump,train\njump/2.mp4,jump,test\n")
    (tmp_path / "videos/b.csv").write_text("path,label,split\njump/2.mp4,leap,train\njump/3.mp4,jump,train\n")
    (found,) = find_collections("x.toml", registry, [])
    assert found.root == tmp_path / "videos" and all(isinstance(d, Manifest) for d in found.datasets)
    listed = [(e.name, e.label, e.split) for e in found.listed()]  # none of these files is there
    assert listed == [("jump/1.mp4", "jump", "train"), ("jump/2.mp4", "jump", "test"), ("jump/3.mp4", "jump", "train")]


def test_roots_of_an_experiment_by_name(registry, tmp_path):
    (tmp_path / "other").mkdir()
    found = find_collections("x.toml", registry, ["b=other"])
    assert [(c.name, c.root.name) for c in found] == [("a", "videos"), ("b", "other")]
    with pytest.raises(CprspecError, match="does not say which data set it is the root of; write one of a, b"):
        find_collections("x.toml", registry, ["other"])


def test_what_is_wrong_is_said(registry, tmp_path):
    for target, roots, said in [
        ("fodler", [], "no data set is called 'fodler'; did you mean 'folder'"),
        ("folder", [], "where the videos of data set 'folder' lie is not known; say it with --root DIR"),
        ("folder", ["nowhere"], "nowhere: not a folder"),
        ("gone.toml", [], "gone.toml"),
    ]:
        with pytest.raises(CprspecError, match=said):
            find_collections(target, registry, roots)


def test_a_folder_lists_what_is_called_like_a_video_and_is_none(registry, tmp_path):
    jump = tmp_path / "videos" / "jump"
    (jump / "1.mp4").write_bytes(b"x")
    os.mkfifo(jump / "fifo.mp4")
    (jump / "dangling.avi").symlink_to("nowhere")
    (jump / "loop.avi").symlink_to("loop.avi")
    (jump / "empty.mkv").mkdir()
    (jump / "class.mkv").mkdir()
    (jump / "class.mkv" / "2.mp4").write_bytes(b"x")
    (collection,) = find_collections("folder", registry, ["videos"])
    names = ["1.mp4", "class.mkv/2.mp4", "dangling.avi", "empty.mkv", "fifo.mp4", "loop.avi"]
    assert [(e.name, e.label) for e in collection.listed()] == [(f"jump/{n}", "jump") for n in names]
    assert [v.name for v in Folder().build(tmp_path / "videos").videos] == ["jump/1.mp4", "jump/class.mkv/2.mp4"]
