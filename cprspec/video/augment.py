"""Augmentation of clips, on bytes with OpenCV: every parameter drawn first, then applied to each view alike.

Source: CoCLR's and IIC's public code (PROTOCOL 2.1, 2.3). Brightness, contrast and saturation blend with black, the clip's
mean grey and the grey picture, as PIL defines them (contrast: per frame). Hue turns the colour circle in HSV.

Legend: T frames, H height, W width.
"""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.components.augments import CoCLR, Crop
from cprspec.spec.schema import Clip

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

COLOURS = ("brightness", "contrast", "saturation", "hue")

MIRRORED: Bytes = np.array([128 if level == 128 else 255 - level for level in range(256)], np.uint8)
"""Quantised x flow negated. 0 pixels lie between levels 127 and 128 and are stored as 128, so 128 stays: what stands still
does so in the mirror too, and a still background does not tell that it was mirrored. Every other level is exact."""


@frozen
class Drawn:
    """What is done to one clip, the same in every view. `box` is top, left, height, width in pixels of the stored size.

    `colours` are (name, factor) in the order they apply; `gray` is a channel for each frame; `sigma` blurs, in pixels.
    `frame` (height, width) is the size pictures get before the box is cut out of them; None: the stored one.
    """

    box: tuple[int, int, int, int]
    flip: bool
    colours: tuple[tuple[str, float], ...] = ()
    gray: tuple[int, ...] = ()
    sigma: float = 0.0
    frame: tuple[int, int] | None = None


def draw_clips(
    options: CoCLR | Crop, rng: np.random.Generator, picks: list[Ints], clip: Clip, height: int, width: int
) -> tuple[list[Ints], list[Drawn]]:
    """The frames `[T]` and the parameters of every clip of a video; `picks` are the frames drawn for each."""
    if isinstance(options, Crop):
        return picks, [draw_crop(options, rng, clip.size, height, width) for _ in picks]
    strong = [bool(rng.random() < options.strong) for _ in picks]
    if len(picks) == 2 and rng.random() < options.one_clip:
        picks = [picks[int(rng.integers(2))]] * 2
        first = bool(rng.integers(2))
        strong = [first, not first]
    return picks, [draw(options, rng, clip.frames, height, width, s) for s in strong]


def draw_crop(options: Crop, rng: np.random.Generator, size: int, height: int, width: int) -> Drawn:
    """A box of `size` pixels somewhere in the picture, once for the whole clip."""
    frame = (options.frame[0], options.frame[1]) if options.frame else None
    tall, wide = frame or (height, width)
    tall_cut, wide_cut = min(size, tall), min(size, wide)
    box = (int(rng.integers(tall - tall_cut + 1)), int(rng.integers(wide - wide_cut + 1)), tall_cut, wide_cut)
    return Drawn(box, flip=bool(rng.random() < options.flip), frame=frame)


def draw(options: CoCLR, rng: np.random.Generator, frames: int, height: int, width: int, strong: bool) -> Drawn:
    """The parameters of one clip; a weak clip is only cropped and mirrored."""
    box = _draw_box(options.min_area, options.tries, rng, height, width)
    flip = bool(rng.random() < options.flip)
    if not strong:
        return Drawn(box, flip)
    colours: list[tuple[str, float]] = []
    if rng.random() < options.jitter:
        for name in rng.permutation(COLOURS).tolist():
            reach = getattr(options, name)
            colours.append((name, float(rng.uniform(-reach, reach)) + (0.0 if name == "hue" else 1.0)))
    gray = tuple(rng.integers(3, size=frames).tolist()) if rng.random() < options.gray else ()
    sigma = float(rng.uniform(0.1, 2.0)) if rng.random() < options.blur else 0.0
    return Drawn(box, flip, tuple(colours), gray, sigma)


def _draw_box(
    min_area: float, tries: int, rng: np.random.Generator, height: int, width: int
) -> tuple[int, int, int, int]:
    for _ in range(tries):
        area = rng.uniform(min_area, 1.0) * height * width
        aspect = rng.uniform(3 / 4, 4 / 3)
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if rng.random() < 0.5:
            w, h = h, w
        if w <= width and h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    if tries == 1:
        return 0, 0, height, width  # as published: no second try, and then the whole picture
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def apply(clip_THWC: Bytes, drawn: Drawn, size: int, *, is_flow: bool = False, flow_aware: bool = False) -> Bytes:
    """The augmented clip `[T,size,size,3]`. Flow arrives as (128, y, x).

    With `flow_aware`, mirroring negates x (see `MIRRORED`) and colours are left alone.
    """
    if drawn.frame is not None and clip_THWC.shape[1:3] != drawn.frame:
        tall, wide = drawn.frame
        clip_THWC = np.stack([cv2.resize(frame, (wide, tall), interpolation=cv2.INTER_LINEAR) for frame in clip_THWC])
    top, left, height, width = drawn.box
    cut = clip_THWC[:, top : top + height, left : left + width]
    # PIL's bicubic smooths when it shrinks; OpenCV's does not, which matters from about 1.5. Area costs 2.6 times as much.
    method = cv2.INTER_AREA if max(height, width) > 1.5 * size else cv2.INTER_CUBIC
    out = np.empty((len(clip_THWC), size, size, 3), np.uint8)
    for t, frame in enumerate(cut):
        cv2.resize(frame, (size, size), out[t], interpolation=method)
    if not (is_flow and flow_aware):
        for name, factor in drawn.colours:
            out = _colour(out, name, factor)
        if drawn.gray:
            out = np.stack([f[..., c : c + 1].repeat(3, -1) for f, c in zip(out, drawn.gray, strict=True)])
    if drawn.sigma:
        for frame in out:
            cv2.GaussianBlur(frame, (0, 0), drawn.sigma, frame)
    if drawn.flip:
        out = out[:, :, ::-1].copy()
        if is_flow and flow_aware:
            out[..., 2] = MIRRORED[out[..., 2]]
    return out


def _colour(clip: Bytes, name: str, factor: float) -> Bytes:
    sheet = clip.reshape(-1, clip.shape[2], 3)  # frames below each other: one call for the clip
    if name == "brightness":
        return _bytes(cv2.convertScaleAbs(sheet, alpha=factor), clip)
    if name == "contrast":
        means = [round(float(cv2.mean(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY))[0])) for f in clip]
        return np.stack(
            [cv2.addWeighted(f, factor, np.full_like(f, m), 1 - factor, 0) for f, m in zip(clip, means, strict=True)]
        )
    if name == "saturation":
        grey = cv2.cvtColor(cv2.cvtColor(sheet, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return _bytes(cv2.addWeighted(sheet, factor, grey, 1 - factor, 0), clip)
    hsv = cv2.cvtColor(sheet, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(factor * 255) % 256)  # wraps around, as the circle does
    return _bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), clip)


def _bytes(sheet: object, clip: Bytes) -> Bytes:
    return np.asarray(sheet, np.uint8).reshape(clip.shape)
