"""Which frames make a clip, against the rules written out, and random numbers that depend on their key alone."""

import numpy as np
import pytest

from cprspec.video import sampling
from cprspec.video.sampling import generator, iic_test_starts, train_indices


def test_a_clip_is_consecutive_and_the_last_start_is_never_drawn():
    rng = generator(0)
    clips = [train_indices(20, 4, 3, rng) for _ in range(2000)]
    assert {int(c[0]) for c in clips} == set(range(20 - 12))
    assert all(np.diff(c).tolist() == [3, 3, 3] for c in clips)


def test_a_short_video_is_padded_on_the_left_with_frame_0():
    assert train_indices(5, 8, 1, generator(1)).tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    assert train_indices(8, 8, 1, generator(1)).tolist() == list(range(8))
    seen = {tuple(train_indices(5, 4, 2, generator(i)).tolist()) for i in range(50)}
    assert seen == {(0, 0, 2, 4), (0, 0, 1, 3)}
    assert train_indices(1, 3, 4, generator(2)).shape == (3,)


@pytest.mark.parametrize(("n", "frames", "stride"), [(100, 32, 1), (64, 8, 2), (33, 16, 2), (9, 2, 1), (40, 8, 1)])
def test_windows_start_half_a_clip_less_one_apart_as_long_as_they_fit(n, frames, stride):
    step, slow, start = max(1, frames * stride // 2 - 1), [], 0
    while start + frames * stride <= n:
        slow.append([start + stride * i for i in range(frames)])
        start += step
    assert sampling.test_windows(n, frames, stride).tolist() == slow


def test_a_short_video_has_one_padded_window():
    assert sampling.test_windows(3, 5, 1).tolist() == [[0, 0, 0, 1, 2]]


def test_iic_starts_span_the_video():
    starts = iic_test_starts(101, 16)
    assert starts[0] == 0 and starts[-1] == 100 - 16 and len(starts) == 10


def test_random_numbers_depend_on_the_whole_key_and_nothing_else():
    first = generator(3, 1, 4).random(4)
    np.random.seed(0)
    generator(9).random(3)
    np.testing.assert_array_equal(generator(3, 1, 4).random(4), first)
    assert len({float(generator(*key).random()) for key in ((3, 1, 4), (3, 4, 1), (3, 1), (3, 1, 5))}) == 4


@pytest.mark.parametrize(("n", "frames", "stride"), [(100, 16, 1), (17, 16, 1), (16, 16, 1), (60, 8, 4)])
def test_spaced_windows_have_their_centres_evenly_over_the_video(n, frames, stride):
    found = sampling.spaced_windows(n, frames, stride, 10)
    span = frames * stride
    for i, window in enumerate(found.tolist()):
        centre = span / 2 + (n - span) * i / 9
        assert window == [int(centre - span / 2 + 1e-9) + stride * t for t in range(frames)]
    assert len(found) == 10 and found.min() == 0 and found.max() < n


def test_a_video_too_short_for_spaced_windows_has_one_padded_window():
    assert sampling.spaced_windows(3, 5, 1, 10).tolist() == [[0, 0, 0, 1, 2]]
