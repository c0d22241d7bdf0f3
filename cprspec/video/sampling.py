"""Which frames make a clip, and the random numbers that decide it.

Source: PROTOCOL 1.3, CoCLR's and IIC's public code. Legend: T frames of a clip, W windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on `key` alone, such as (seed, stream, epoch, video)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def train_indices(n: int, frames: int, stride: int, rng: np.random.Generator) -> Ints:
    """Frames `[T]` of a random training clip out of `n`; a video that is too short is padded on the left with frame 0.

    As published, the last possible start is never drawn.
    """
    if n > frames * stride:
        return int(rng.integers(n - frames * stride)) + np.arange(frames, dtype=np.int64) * stride
    existing = np.arange(int(rng.integers(stride)), n, stride, dtype=np.int64)[:frames]
    return np.concatenate([np.zeros(frames - len(existing), np.int64), existing])


def test_windows(n: int, frames: int, stride: int) -> Ints:
    """Frames `[W,T]` of every test window: starts half a clip less one frame apart, as long as the window fits."""
    span = frames * stride
    if n <= span:
        existing = np.arange(0, n, stride, dtype=np.int64)[:frames]
        return np.concatenate([np.zeros(frames - len(existing), np.int64), existing])[None]
    starts = np.arange(0, n - span + 1, max(1, span // 2 - 1), dtype=np.int64)
    return starts[:, None] + np.arange(frames, dtype=np.int64) * stride


def iic_test_starts(n: int, frames: int, clips: int = 10) -> Ints:
    """First frames `[clips]` of IIC's test clips: centres evenly spaced over the video of `n` files."""
    length = n - 1
    centres = np.linspace(frames / 2, length - frames / 2, clips)
    return np.floor(centres - frames / 2).astype(np.int64)


def spaced_windows(n: int, frames: int, stride: int, clips: int) -> Ints:
    """Frames `[clips,T]` of IIC's test clips out of `n`; a video too short for one has the single window of `test_windows`."""
    span = frames * stride
    if n < span:
        return test_windows(n, frames, stride)
    starts = iic_test_starts(n + 1, span, clips)
    return starts[:, None] + np.arange(frames, dtype=np.int64) * stride
