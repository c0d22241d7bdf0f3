"""Optical flow between neighbouring frames, and its quantisation to bytes.

u8 = round((f + bound) * 255 / (2 bound)) with f clipped to +-bound; no motion is 127.5, rounded to even: 128 (PROTOCOL 1.1).
Legend: N frames, H height, W width; flow `[N-1,H,W,2]` holds x and y in pixels per frame.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


LIGHT = {"WarpingsNumber": 2, "InnerIterations": 10, "OuterIterations": 5}
"""`tvl1-light`: OpenCV's defaults are 5, 30 and 10. Times and agreement: benchmarks/read_speed.py."""


class FlowMethod:
    """Flow between two pictures; keeps the algorithm's buffers from one pair to the next. Methods: components/views.py."""

    def __init__(self, method: str) -> None:
        self._algorithm: Any  # OpenCV's own type hints do not allow a missing first guess
        if method == "dis":
            self._algorithm = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        else:
            self._algorithm = cv2.optflow.DualTVL1OpticalFlow.create()
        for name, value in LIGHT.items() if method == "tvl1-light" else ():
            getattr(self._algorithm, f"set{name}")(value)

    def between(self, first_HW3: Bytes, second_HW3: Bytes) -> Floats:
        """Flow `[H,W,2]` from one picture to the next."""
        grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first_HW3, second_HW3))
        flow: Floats = self._algorithm.calc(*grey, None)
        return flow


def compute_flow(frames_NHWC: Bytes, method: str) -> Floats:
    """Flow `[N-1,H,W,2]` float32 between neighbouring pictures."""
    algorithm = FlowMethod(method)
    flow = [algorithm.between(a, b) for a, b in pairwise(frames_NHWC)]
    height, width = frames_NHWC.shape[1:3]
    return np.stack(flow) if flow else np.zeros((0, height, width, 2), np.float32)


def quantise(flow: Floats, bound: float) -> Bytes:
    """Flow in pixels to bytes."""
    clipped = np.clip(flow, -bound, bound)
    levels: Bytes = np.rint((clipped + bound) * (255.0 / (2 * bound))).astype(np.uint8)
    return levels


def dequantise(flow_u8: Bytes, bound: float) -> Floats:
    """Bytes to flow in pixels."""
    return (flow_u8.astype(np.float32) * (2 * bound / 255.0) - bound).astype(np.float32)


def requantised(bound: float, wanted: float) -> Bytes:
    """For each level `[256]` of flow quantised within `bound`, the level within the bound `wanted`."""
    return quantise(dequantise(np.arange(256, dtype=np.uint8), bound), wanted)


def stack(flow_HW2: Bytes) -> Bytes:
    """Both components of flow as one grey picture `[2H,W]`: x above y."""
    return np.concatenate([flow_HW2[..., 0], flow_HW2[..., 1]])


def unstack(planes_2HW: Bytes) -> Bytes:
    """The inverse of `stack`: `[H,W,2]`."""
    return np.stack(np.split(planes_2HW, 2), axis=-1)
