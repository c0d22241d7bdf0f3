"""Strips of any video, and flow as people read it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cprspec.components.views import Flow, Residual, Rgb
from cprspec.spec.schema import Clip
from cprspec.video.flow import quantise
from cprspec.video.strips import colour_wheel, shown_view, strip


@pytest.mark.parametrize(("length", "shape"), [(1, (32, 32)), (2, (8, 200)), (300, (120, 90))])
def test_any_video_has_a_strip_of_one_height(length, shape):
    pictures = np.full((length, *shape, 3), 200, np.uint8)
    found = cv2.imdecode(np.frombuffer(strip(pictures, Clip(), Rgb()), np.uint8), cv2.IMREAD_COLOR)
    assert found.shape[0] == 64
    assert found.shape[1] <= 4 * 160
    assert abs(int(found.mean()) - 200) < 3


def test_frames_are_those_of_the_middle_clip():
    pictures = np.arange(101, dtype=np.uint8).repeat(16 * 16 * 3).reshape(101, 16, 16, 3)
    found = cv2.imdecode(np.frombuffer(strip(pictures, Clip(frames=10), Rgb()), np.uint8), cv2.IMREAD_COLOR)
    levels = [int(found[:, 64 * i + 8 : 64 * i + 56].mean().round()) for i in range(4)]
    assert levels == pytest.approx([45, 48, 51, 54], abs=1)


def test_pictures_are_shown_before_flow():
    flow = Flow()
    assert isinstance(shown_view([flow, Rgb()]), Rgb)
    assert isinstance(shown_view([flow, Residual()]), Residual)
    assert shown_view([flow]) is flow


def test_the_colour_wheel_tells_directions_apart_and_leaves_rest_white():
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 0], flow[0, 0, 1], flow[0, 1, 0] = (5, 0), (-5, 0), (0, 2.5)
    right, left, down, rest = colour_wheel(quantise(flow, 20.0), 20.0).reshape(4, 3).astype(int)
    assert right[0] > 240 > 60 > right[2]
    assert left[2] > 240 > 60 > left[0]
    assert min(rest) > 240
    assert 60 < min(down) < 240, "half as fast is half as deep"
