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


def compute_flow(frames_NHWC: Bytes, method: str) -> Floats:
    """Flow `[N-1,H,W,2]` float32; `method` is `dis` (medium preset) or `tvl1` (OpenCV's defaults, as published)."""
    algorithm: Any  # OpenCV's own type hints do not allow a missing first guess
    if method == "dis":
        algorithm = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    else:
        algorithm = cv2.optflow.DualTVL1OpticalFlow.create()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames_NHWC]
    flow = [algorithm.calc(a, b, None) for a, b in pairwise(grey)]
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
