"""Flow: the direction and size of a known motion, and bytes as the definition says."""

import cv2
import numpy as np
import pytest

from cprspec.video.flow import compute_flow, dequantise, quantise


def shifted(dx, dy, n=4):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    scene = cv2.GaussianBlur(noise, (0, 0), 3)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    frames = [scene[20 - dy * t : 68 - dy * t, 20 - dx * t : 68 - dx * t] for t in range(n)]
    return np.repeat(np.stack(frames)[..., None], 3, axis=-1)


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_flow_is_the_motion_of_the_content_x_then_y(method):
    flow = compute_flow(shifted(2, -1), method)
    assert flow.shape == (3, 48, 48, 2)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[:, 8:-8, 8:-8].reshape(-1, 2), axis=0), [2, -1], atol=0.15)


def test_a_single_frame_has_no_flow():
    assert compute_flow(np.zeros((1, 16, 20, 3), np.uint8), "dis").shape == (0, 16, 20, 2)


def test_bytes_follow_the_definition_one_value_at_a_time():
    values = np.concatenate([np.linspace(-25, 25, 501), [0, 20, -20, 1e9]]).astype(np.float32)
    slow = [round((min(20.0, max(-20.0, float(v))) + 20) * 255 / 40) for v in values]  # round() is half to even
    assert quantise(values, 20).tolist() == slow
    assert quantise(np.float32([0, 20, -20]), 20).tolist() == [128, 255, 0]


def test_bytes_give_back_the_flow_within_half_a_level():
    flow = np.random.default_rng(1).uniform(-5, 5, (3, 4, 4, 2)).astype(np.float32)
    assert np.abs(dequantise(quantise(flow, 5), 5) - flow).max() <= 5 / 255 + 1e-5
