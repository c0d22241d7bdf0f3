"""Small videos made on the spot: a textured window that moves over a still scene."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np


def make_video(path: Path, frames: int = 40, codec: str = "libx264", width: int = 96, height: int = 72, **options: str):
    """Write a video whose content moves right by one pixel and down by half a pixel a frame."""
    rng = np.random.default_rng(len(path.name) + frames)
    noise = rng.integers(0, 256, (height + 60, width + 60, 3)).astype(np.uint8)
    scene = cv2.GaussianBlur(noise, (0, 0), 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=15, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            top, left = (t // 2) % 60, t % 60
            picture = np.ascontiguousarray(scene[top : top + height, left : left + width])
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
