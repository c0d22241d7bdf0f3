"""Strips: a few frames of a video's middle clip side by side, as a small JPEG that people look at.

Legend: N frames of a video, T frames of a strip, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cprspec.components.views import Flow
from cprspec.spec.kinds import View
from cprspec.spec.schema import Clip
from cprspec.video.flow import dequantise
from cprspec.video.reading import Frames

Bytes = NDArray[np.uint8]

HEIGHT, FRAMES = 64, 4
"""Pixels, and frames side by side."""

_QUALITY = 80
_WIDEST = 2.5
"""A frame is at most so much wider than high, or higher than wide."""


def shown_view(views: Sequence[View]) -> View:
    """What people are shown of these views: the pictures if one of them is made from pictures, else flow."""
    return next((view for view in views if not isinstance(view, Flow)), views[0])


def strip(stored: Frames, clip: Clip, view: View) -> bytes:
    """A JPEG of FRAMES frames of the middle clip, from pictures `[N,H,W,3]` or flow `[N,H,W,2]` as the store has them."""
    span = min(len(stored), clip.frames * clip.stride)
    start = (len(stored) - span) // 2
    frames = stored[np.linspace(start, start + span - 1, FRAMES).round().astype(np.int64)]
    if isinstance(view, Flow):
        frames = colour_wheel(frames, view.bound)
    height, width = frames.shape[1:3]
    size = (round(HEIGHT * min(_WIDEST, max(1 / _WIDEST, width / height))), HEIGHT)
    method = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    row = np.concatenate([cv2.resize(frame, size, interpolation=method) for frame in frames], axis=1)
    _, content = cv2.imencode(".jpg", row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()


def colour_wheel(flow_u8: Bytes, bound: float) -> Bytes:
    """Flow `[T,H,W,2]` as pictures: hue is the direction, colour deepens with speed up to the clip's fastest; white is rest."""
    flow = dequantise(flow_u8, bound)
    speed = np.hypot(flow[..., 0], flow[..., 1])
    fastest = max(float(np.percentile(speed, 99)), 1.0)
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    hue = (angle / (2 * np.pi) % 1.0 * 180).astype(np.uint8)  # OpenCV's hue is half the degrees
    depth = (np.minimum(speed / fastest, 1.0) * 255).astype(np.uint8)
    hsv = np.stack([hue, depth, np.full_like(depth, 255)], axis=-1)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv])
