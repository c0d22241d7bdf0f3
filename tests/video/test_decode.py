"""Decoding: a clip equals the same frames of the whole video, and every damaged file gives one kind of error."""

import av
import numpy as np
import pytest
from small_videos import make_video

from cprspec.video import decode, opening
from cprspec.video.decode import read_clip, read_frames
from cprspec.video.opening import BadVideo

B_FRAMES = {"bf": "3", "g": "12"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "libx264", B_FRAMES),
        ("open_gop.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}),
        ("b.mkv", "libx264", B_FRAMES),
        ("plain.avi", "mpeg4", {"g": "12"}),
        ("b.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("h264.avi", "libx264", B_FRAMES),
    ],
)
def test_a_clip_is_exactly_the_frames_of_the_whole_video(tmp_path, name, codec, options):
    path = make_video(tmp_path / name, 40, codec, **options)
    whole = read_frames(path, 48)
    assert whole.shape == (40, 48, 64, 3)
    for indices in ([0, 1, 2], [11, 12], [13, 15, 30], [39], [0, 0, 38, 39], [25, 3]):
        np.testing.assert_array_equal(read_clip(path, np.array(indices), 48), whole[indices])


def test_a_clip_from_mp4_does_not_decode_what_lies_before_it(tmp_path, monkeypatch):
    path = make_video(tmp_path / "x.mp4", 40, **B_FRAMES)
    monkeypatch.setattr(decode, "_count_and_read", None)
    assert read_clip(path, np.array([30, 31]), 48).shape == (2, 48, 64, 3)


def test_decoded_pictures_show_what_was_encoded(tmp_path):
    path = tmp_path / "x.mp4"
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48] = (200, 40, 40)
    picture[:, 48:] = (30, 60, 180)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    (frame,) = read_frames(path, 32)
    assert frame.shape == (32, 48, 3)
    np.testing.assert_allclose(frame[16, 8], (200, 40, 40), atol=8)  # RGB, not BGR
    np.testing.assert_allclose(frame[16, 40], (30, 60, 180), atol=8)


def test_too_few_frames_are_an_error_with_the_count(tmp_path):
    path = make_video(tmp_path / "x.mp4", 10)
    with pytest.raises(BadVideo, match="has 10 frames, and frame 12 is asked for"):
        read_clip(path, np.array([3, 12]), 48)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = make_video(tmp_path / "x.mp4", 10)
    monkeypatch.setattr(decode, "MAX_BYTES", 5 * 32 * 43 * 3)
    with pytest.raises(BadVideo, match="GiB of pictures"):
        read_frames(path, 32)
    monkeypatch.setattr(opening, "MAX_PIXELS", 96 * 72 - 1)
    with pytest.raises(BadVideo, match="96 x 72"):
        read_frames(path, 32)
