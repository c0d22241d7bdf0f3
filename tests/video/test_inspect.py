"""One pass over a file: the rules for odd videos, and tables that are exactly what decoding gives."""

import hashlib
import os

import av
import hostile_videos
import numpy as np
import pytest
from hostile_videos import KINDS, pictures, write_video
from small_videos import make_video

from cprspec.data.defects import Defect
from cprspec.video import inspect, limits
from cprspec.video.decode import read_frames
from cprspec.video.inspect import Job, look_at
from cprspec.video.opening import BadVideo

CODED = [
    ("b.mp4", "libx264", {"bf": "3", "g": "12"}),
    ("open.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}),
    ("b.mkv", "libx264", {"bf": "3", "g": "12"}),
    ("b.avi", "mpeg4", {"g": "12", "bf": "2"}),
    ("h264.avi", "libx264", {"bf": "3", "g": "12"}),
    ("x.webm", "libvpx", {"g": "12", "deadline": "realtime"}),
]


def look(path, **how):
    return look_at(Job(path, path.name, **how))


@pytest.mark.parametrize("name", [n for n, k in KINDS.items() if k.quick], ids=ascii)
def test_a_hostile_file_has_its_class_or_its_true_facts(tmp_path, name):
    hostile_videos.make(tmp_path, [name])
    kind, record = KINDS[name], look(tmp_path / name)
    if kind.defects:
        assert record.video is None and record.flaw is not None and record.flaw.defect in kind.defects
    else:
        assert record.flaw is None and record.video is not None
        assert (record.video.frames, record.video.width, record.video.height) == (kind.frames, *kind.size)
        assert len(record.video.times_N) == kind.frames and (np.diff(record.video.times_N) > 0).all()


@pytest.mark.parametrize(("name", "codec", "options"), CODED)
def test_the_tables_say_how_to_find_a_frame_from_its_key_frame(tmp_path, name, codec, options):
    """Decode from each key frame's packet on: what comes out is where the tables have it."""
    path = make_video(tmp_path / name, 40, codec, **options)
    facts = look(path).video
    assert facts.frames == 40 and facts.fps == pytest.approx(15, rel=1e-2)
    np.testing.assert_allclose(facts.seconds_N - facts.seconds_N[0], np.arange(40) / 15, atol=1e-3)
    assert sorted(facts.order_N.tolist()) == list(range(40))
    whole = read_frames(path, 48)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == sorted(facts.order_N[facts.keys_K].tolist())
    for key in facts.keys_K[1:3].tolist():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for number, packet in enumerate(container.demux(stream)):
                if number >= facts.order_N[key] and (found := packet.decode()):
                    break
            first = next(f for f in [*found, *stream.decode(None)] if f.key_frame)
            picture = first.reformat(64, 48, "rgb24", interpolation="AREA").to_ndarray()
        assert np.abs(picture.astype(int) - whole[key]).mean() < 4


def test_variable_rate_counts_frames_as_they_are_and_keeps_their_times(tmp_path):
    times = [0, 3, 5, 20, 21, 40, 90, 91]
    path = write_video(tmp_path / "x.mp4", pictures(8), times=times)
    np.testing.assert_allclose(look(path).video.seconds_N, np.array(times) / 100, atol=1e-4)
    assert len(read_frames(path, 48)) == 8  # none repeated, none dropped


def test_turned_videos_stand_upright(tmp_path):
    red_above = np.zeros((64, 96, 3), np.uint8)
    red_above[:32] = (250, 0, 0)
    for degrees, at in ((0, (0.1, 0.5)), (90, (0.5, 0.1)), (180, (0.9, 0.5)), (-90, (0.5, 0.9)), (45, (0.1, 0.5))):
        path = write_video(tmp_path / f"{degrees}.mp4", [red_above], rotation=degrees, crf="5")
        (picture,) = read_frames(path, 32)
        height, width = picture.shape[:2]
        assert (height > width) == (abs(degrees) == 90)
        y, x = int(at[0] * height), int(at[1] * width)
        assert picture[y, x, 0] > 200 and picture[-1 - y, -1 - x, 0] < 60
        assert look(path).video.width == 96  # as stored
        assert look(path).video.rotation % 360 == degrees % 360


def test_sixteen_bit_gray_becomes_three_equal_channels(tmp_path):
    hostile_videos.make(tmp_path, ["gray16.mkv"])
    frames = read_frames(tmp_path / "gray16.mkv", 48)
    assert frames.shape == (5, 48, 64, 3) and (np.ptp(frames.astype(int), axis=-1) <= 2).all()
    assert frames[0, -1, -1, 0] > frames[0, 0, 0, 0] + 100


def test_no_output_is_larger_than_the_clip_asks_for(tmp_path):
    names = ["odd.mkv", "smallest.mkv", "wide.mkv", "tall.mkv"]
    hostile_videos.make(tmp_path, names)
    for name in names:
        try:
            frames = read_frames(tmp_path / name, 48)
        except BadVideo as error:
            assert error.defect == Defect.TOO_LARGE
        else:
            assert min(frames.shape[1:3]) == 48 and max(frames.shape[1:3]) <= 48 * 2


def test_several_sizes_in_one_video_become_that_of_the_first(tmp_path):
    parts = [write_video(tmp_path / f"{w}.ts", pictures(6, w, h), g="3") for w, h in ((96, 72), (64, 96))]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    facts, frames = look(path).video, read_frames(path, 48)
    assert (facts.width, facts.height) == (96, 72) and facts.frames == len(frames) > 6
    assert frames.shape[1:] == (48, 64, 3)


def test_the_digest_is_that_of_the_file(tmp_path):
    path = make_video(tmp_path / "x.mp4", 5)
    record = look(path)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.size, record.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert look(path, digest=False).sha256 is None
    only_digest = look(path, decode=False)
    assert only_digest.sha256 == record.sha256 and only_digest.video is None and only_digest.flaw is None


def test_where_decoding_stopped_is_told(tmp_path):
    path = write_video(tmp_path / "x.mp4", pictures(20), g="5")
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"\xff" * 20_000 + data[middle + 20_000 :])
    flaw = look(path).flaw
    assert flaw is not None and flaw.defect == Defect.DAMAGED and 5 <= flaw.frame <= 15


def test_a_file_that_changes_while_it_is_read_is_bad(tmp_path, monkeypatch):
    path = make_video(tmp_path / "x.mp4", 5)
    flaws = []
    for change in (lambda: os.utime(path, (1, 1)), path.unlink):
        monkeypatch.setattr(inspect, "_digest", lambda _path, change=change: change() or "0" * 64)
        flaws.append(look(path).flaw.defect)
    assert flaws == [Defect.CHANGED, Defect.MISSING]


def test_progress_is_told_at_least_once_a_frame(tmp_path, monkeypatch):
    path, calls = make_video(tmp_path / "x.mp4", 12), []
    monkeypatch.setattr(limits, "progressing", lambda: calls.append(1))
    look(path)
    assert len(calls) >= 12
    calls.clear()
    read_frames(path, 32)
    assert len(calls) >= 12
