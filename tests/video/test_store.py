"""The store: the same bytes as computing, computed once, for several processes, within its bound."""

import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from small_videos import make_video

from cprspec.components.views import Flow, Residual, Rgb
from cprspec.errors import CprspecError
from cprspec.video import store as store_module
from cprspec.video.decode import read_frames
from cprspec.video.flow import compute_flow, quantise
from cprspec.video.store import DEFAULT_GIB, Store, store_gib


@pytest.fixture
def video(tmp_path):
    return make_video(tmp_path / "videos" / "x.mp4", 12)


def no_decoding(*_):
    raise AssertionError("decoded again")


def test_it_holds_what_decoding_and_flow_give(tmp_path, video):
    store = Store(tmp_path / "store")
    frames = read_frames(video, 36)
    np.testing.assert_array_equal(store.pictures(video, 36), frames)
    np.testing.assert_array_equal(store.flow(video, 36, "dis", 8.0), quantise(compute_flow(frames, "dis"), 8.0))
    for view, length in ((Rgb(), 12), (Residual(), 12), (Flow(), 11)):
        assert len(store.read(video, view, 36)) == length
    assert isinstance(store.pictures(video, 36), np.memmap)


def test_nothing_is_decoded_or_hashed_twice_even_under_another_name(tmp_path, video, monkeypatch):
    Store(tmp_path / "store").pictures(video, 36)
    copy = shutil.copy(video, tmp_path / "copy.mp4")
    monkeypatch.setattr(store_module, "read_frames", no_decoding)
    assert len(Store(tmp_path / "store").pictures(copy, 36)) == 12
    monkeypatch.setattr(store_module.hashlib, "file_digest", no_decoding)
    assert len(Store(tmp_path / "store").pictures(video, 36)) == 12


def test_a_changed_file_is_read_anew(tmp_path, video):
    store = Store(tmp_path / "store")
    assert len(store.pictures(video, 36)) == 12
    make_video(video, 7)
    assert len(store.pictures(video, 36)) == 7


def test_a_damaged_entry_is_made_again(tmp_path, video):
    Store(tmp_path / "store").pictures(video, 36)
    (entry,) = (tmp_path / "store").glob("v*/*/*.npy")
    entry.write_bytes(entry.read_bytes()[:1000])
    np.testing.assert_array_equal(Store(tmp_path / "store").pictures(video, 36), read_frames(video, 36))


def test_it_travels_to_workers_without_its_maps(tmp_path, video, monkeypatch):
    store = Store(tmp_path / "store")
    store.pictures(video, 36)
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    monkeypatch.setattr(store_module, "read_frames", no_decoding)
    assert len(pickle.loads(sent).pictures(video, 36)) == 12


def test_fill_prepares_everything_and_names_every_bad_video(tmp_path, monkeypatch):
    paths = [make_video(tmp_path / f"{i}.mp4", 10 + i) for i in range(3)]
    single, text = make_video(tmp_path / "single.mp4", 1), tmp_path / "text.mp4"
    text.write_text("not a video")
    store, seen = Store(tmp_path / "store"), []
    with pytest.raises(CprspecError) as caught:
        store.fill([*paths, single, text], [Rgb(), Flow()], 36, 2, lambda done, of: seen.append((done, of)))
    named = sorted(str(problem) for problem in caught.value.problems)
    assert len(named) == 2
    assert "single.mp4" in named[0] and "single frame" in named[0]
    assert "text.mp4" in named[1]
    assert seen == [(i, 5) for i in range(1, 6)]
    monkeypatch.setattr(store_module, "read_frames", no_decoding)
    assert [len(store.read(p, Flow(), 36)) for p in paths] == [9, 10, 11]
    store.fill(paths, [Rgb(), Flow()], 36, 2, no_decoding)  # nothing is missing, so nothing is reported


def prepare_or_die(job):
    """A decoder that crashes on b.mp4."""
    if job[1].name == "b.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    job[0].read(job[1], Rgb(), job[3])
    return []


def test_a_video_that_the_decoder_dies_of_is_named_and_the_others_are_prepared(tmp_path, monkeypatch):
    paths = [make_video(tmp_path / f"{name}.mp4", 5 + i) for i, name in enumerate("abc")]
    monkeypatch.setattr(store_module, "_prepare", prepare_or_die)
    store = Store(tmp_path / "store")
    with pytest.raises(CprspecError, match=r"^\S*b.mp4: not a readable video: the decoder crashed \(SIGSEGV\)$"):
        store.fill(paths, [Rgb()], 36, workers=1)
    assert [store.holds(path, Rgb(), 36) for path in paths] == [True, False, True]


def test_least_recently_used_goes_first_and_what_is_read_stays_readable(tmp_path):
    paths = [make_video(tmp_path / f"{i}.mp4", 12 + i) for i in range(3)]
    store = Store(tmp_path / "store")
    maps = [store.pictures(p, 36) for p in paths]
    before = [np.array(m) for m in maps]
    files = [m.filename for m in maps]
    for age, file in zip((30, 10, 20), files, strict=True):
        os.utime(file, (1e9 - age, 1e9 - age))
    small = Store(tmp_path / "store", max_gib=1.5 * maps[0].nbytes / 2**30)
    small._make_room()
    assert [Path(f).exists() for f in files] == [False, True, False]
    for kept, expected in zip(maps, before, strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_writing_alone_keeps_the_bound(tmp_path):
    store = Store(tmp_path / "store", max_gib=60_000 / 2**30)
    for i in range(6):
        store.pictures(make_video(tmp_path / f"{i}.mp4", 5 + i), 36)
    assert sum(f.stat().st_size for f in (tmp_path / "store").glob("v*/*/*.npy")) <= 60_000


def test_its_bound_can_be_said_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("CPRSPEC_CACHE_GIB", raising=False)
    assert store_gib() == DEFAULT_GIB
    monkeypatch.setenv("CPRSPEC_CACHE_GIB", "0.00001")  # 10 kB: nothing fits
    store = Store(tmp_path / "store")
    for i in range(3):
        store.pictures(make_video(tmp_path / f"{i}.mp4", 12 + i), 36)
    assert len(list((tmp_path / "store").rglob("*.npy"))) <= 1
    for wrong in ("much", "0", "-1", "nan", "inf", ""):
        monkeypatch.setenv("CPRSPEC_CACHE_GIB", wrong)
        with pytest.raises(CprspecError, match="CPRSPEC_CACHE_GIB"):
            Store(tmp_path / "store")


def test_a_full_disk_or_a_file_in_the_way_is_an_error_with_the_place(tmp_path, video):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(CprspecError, match="cannot write to the store"):
        Store(tmp_path / "store").pictures(video, 36)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CprspecError, match=r"gone\.mp4"):
        Store(tmp_path / "store").pictures(tmp_path / "gone.mp4", 36)
