"""Reading by packets: the frames of the whole video, from any container, whatever is asked for."""

import numpy as np
import pytest
from small_videos import make_video

from cprspec.video.decode import read_frames
from cprspec.video.framing import index_frames
from cprspec.video.opening import BadVideo
from cprspec.video.packets import FrameIndex, plan, read_packets
from cprspec.video.reading import Pictures

B_FRAMES = {"bf": "3", "g": "12"}
ASKED = ([0, 1, 2], [11, 12], [13, 15, 30], [39], [0, 0, 38, 39], [25, 3], [0, 36], list(range(2, 40, 4)))


@pytest.mark.parametrize(
    ("name", "codec", "options", "placed"),
    [
        ("b.mp4", "libx264", B_FRAMES, True),
        ("open_gop.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}, True),
        ("refreshed.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=20"}, True),
        ("b.mkv", "libx264", B_FRAMES, True),
        ("plain.avi", "mpeg4", {"g": "12"}, True),
        ("b.avi", "mpeg4", {"g": "12", "bf": "2"}, True),
        ("h264.avi", "libx264", B_FRAMES, True),
        ("b.ts", "libx264", B_FRAMES, False),
        ("b.mpg", "mpeg2video", {"bf": "2"}, False),
    ],
)
def test_any_frames_are_exactly_those_of_the_whole_video(tmp_path, name, codec, options, placed):
    path = make_video(tmp_path / name, 40, codec, **options)
    whole, index = read_frames(path, 48), index_frames(path)
    assert index.placed == placed and index.frames == 40
    pictures = Pictures(path, index, 48)
    assert pictures.shape == whole.shape and len(pictures) == 40
    for positions in ASKED:
        np.testing.assert_array_equal(pictures[np.array(positions)], whole[positions])


def test_an_index_survives_being_written(tmp_path):
    path = make_video(tmp_path / "b.mp4", 20, **B_FRAMES)
    index = FrameIndex.from_json(index_frames(path).to_json())
    np.testing.assert_array_equal(Pictures(path, index, 48)[np.arange(20)], read_frames(path, 48))


def test_packets_before_the_key_frame_are_not_read_nor_those_between_distant_clips(tmp_path):
    index = index_frames(make_video(tmp_path / "x.mp4", 60, g="10", bf="0", sc_threshold="0"))
    assert [(s.first, s.last) for s in plan(index, [3, 4, 47])] == [(0, 4), (40, 47)]
    assert [(s.first, s.last) for s in plan(index, [9, 10, 11])] == [(0, 11)]


def test_frames_before_a_key_frame_that_come_after_it_need_the_one_before(tmp_path):
    index = index_frames(make_video(tmp_path / "x.mp4", 40, **{"x264-params": "open-gop=1:keyint=12:bframes=3"}))
    key = int(np.flatnonzero(index.key_P)[1])
    leading = int(index.shown_P[key]) - 1
    assert int(np.flatnonzero(index.shown_P == leading)[0]) > key  # it is decoded after the key frame
    assert plan(index, [leading])[0].first == 0


def test_a_file_that_was_changed_is_an_error_and_the_decoder_recovers(tmp_path):
    path = make_video(tmp_path / "x.mp4", 30)
    index, whole = index_frames(path), read_frames(path, 48)
    other = make_video(tmp_path / "other.mp4", 9)
    with pytest.raises(BadVideo):
        Pictures(other, index, 48)[np.arange(25, 30)]
    with pytest.raises(BadVideo, match="has 30 frames, and frame 30 is asked for"):
        list(read_packets(path, index, [30]))
    np.testing.assert_array_equal(Pictures(path, index, 48)[np.arange(25, 30)], whole[25:])


def test_leaving_in_the_middle_does_not_disturb_the_next_reader(tmp_path):
    path = make_video(tmp_path / "x.mp4", 30, **B_FRAMES)
    index = index_frames(path)
    next(read_packets(path, index, [0, 1, 2, 3]))
    np.testing.assert_array_equal(Pictures(path, index, 48)[np.arange(30)], read_frames(path, 48))
