"""Augmentation of clips, on bytes with OpenCV: every parameter drawn first, then applied to each view alike.

Source: CoCLR's and IIC's public code (PROTOCOL 2.1, 2.3). Brightness, contrast and saturation blend with black, the clip's
mean grey and the grey picture, as PIL defines them (contrast: per frame). Hue turns the colour circle in HSV.

Legend: T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.components.augments import CoCLR, Crop
from cprspec.spec.schema import Clip

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

Step = Callable[[Bytes, Bytes, int], object]
"""One thing that is done to a frame `[H,W,3]`: from, to, and the frame's number in the clip."""

COLOURS = ("brightness", "contrast", "saturation", "hue")

MIRRORED: Bytes = np.array([128 if level == 128 else 255 - level for level in range(256)], np.uint8)
"""Quantised x flow negated. 0 pixels lie between levels 127 and 128 and are stored as 128, so 128 stays: what stands still
does so in the mirror too, and a still background does not tell that it was mirrored. Every other level is exact."""

X_MIRRORED: Bytes = np.stack([np.arange(256, dtype=np.uint8)] * 2 + [MIRRORED], axis=-1)[None]
"""The same as a table for pictures of (128, y, x)."""

NO_MOTION = 128
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""What red, green and blue add to grey."""


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


def centre_crop(options: Crop, size: int, height: int, width: int) -> Drawn:
    """The box of `draw_crop` in the middle, for tests."""
    frame = (options.frame[0], options.frame[1]) if options.frame else None
    tall, wide = frame or (height, width)
    tall_cut, wide_cut = min(size, tall), min(size, wide)
    return Drawn(
        (round((tall - tall_cut) / 2), round((wide - wide_cut) / 2), tall_cut, wide_cut), flip=False, frame=frame
    )


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


def apply(
    clip_THWC: Bytes,
    drawn: Drawn,
    size: int,
    *,
    is_flow: bool = False,
    flow_aware: bool = False,
    out: Bytes | None = None,
) -> Bytes:
    """The augmented clip `[T,size,size,3]`, in `out` if given. Flow `[T,H,W,2]` (x, y) becomes (128, y, x) on the way.

    With `flow_aware`, mirroring negates x (see `MIRRORED`) and colours are left alone.
    """
    if out is None:
        out = np.empty((len(clip_THWC), size, size, 3), np.uint8)
    steps = [_cut_out(clip_THWC, drawn, size), *_changes(drawn, is_flow and flow_aware)]
    # A frame goes through all steps before the next one, within what the processor's cache holds.
    between = np.empty((2, size, size, 3), np.uint8)
    for t, frame in enumerate(clip_THWC):
        for number, step in enumerate(steps, start=1):
            target = out[t] if number == len(steps) else between[number % 2]
            step(frame, target, t)
            frame = target  # noqa: PLW2901  each step takes what the one before made
    return out


def _cut_out(clip_THWC: Bytes, drawn: Drawn, size: int) -> Step:
    """The first step: the box of a stored picture at the clip's size. As published the box is resized bicubically."""
    top, left, height, width = drawn.box
    tall, wide = drawn.frame or clip_THWC.shape[1:3]
    first = (tall, wide) != clip_THWC.shape[1:3]
    # PIL's bicubic smooths when it shrinks; OpenCV's does not, which matters from about 1.5. Area costs 4 times as much.
    method = cv2.INTER_AREA if max(height, width) > 1.5 * size else cv2.INTER_CUBIC
    region = (height, width) if not first else clip_THWC.shape[1:3]
    coded = np.full((*region, 3), NO_MOTION, np.uint8) if clip_THWC.shape[3] == 2 else None

    def cut_out(source: Bytes, target: Bytes, _t: int) -> None:
        cut = source if first else source[top : top + height, left : left + width]
        if coded is not None:
            cv2.mixChannels([cut], [coded], [1, 1, 0, 2])
            cut = coded
        if first:
            cut = np.asarray(cv2.resize(cut, (wide, tall), interpolation=cv2.INTER_LINEAR))
            cut = cut[top : top + height, left : left + width]
        if (height, width) == (size, size):
            np.copyto(target, cut)
        else:
            cv2.resize(cut, (size, size), target, interpolation=method)

    return cut_out


def _changes(drawn: Drawn, aware: bool) -> list[Step]:
    """What is done to a picture after it has been cut out, in order."""
    steps: list[Step] = []
    if not aware:
        steps += [_colour(name, factor) for name, factor in drawn.colours]
        if drawn.gray:
            steps.append(_gray(drawn.gray))
    if drawn.sigma:
        steps.append(_blur(drawn.sigma))
    if drawn.flip:
        steps.append(lambda source, target, _t: cv2.flip(source, 1, target))
        if aware:
            steps.append(lambda source, target, _t: cv2.LUT(source, X_MIRRORED, target))
    return steps


def _colour(name: str, factor: float) -> Step:
    if name == "brightness":
        return lambda source, target, _t: cv2.convertScaleAbs(source, target, factor)
    if name == "saturation":
        mix = np.float32(factor) * np.eye(3, dtype=np.float32) + np.float32(1 - factor) * GREY
        return lambda source, target, _t: cv2.transform(source, mix, target)
    if name == "contrast":
        return lambda source, target, _t: _contrast(source, target, factor)
    turn = np.uint8(round(factor * 255) % 256)

    def hue(source: Bytes, target: Bytes, _t: int) -> None:
        hsv = np.asarray(cv2.cvtColor(source, cv2.COLOR_RGB2HSV_FULL))
        hsv[..., 0] += turn  # wraps around, as the circle does
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, target)

    return hue


def _contrast(source: Bytes, target: Bytes, factor: float) -> None:
    mean = round(cv2.mean(cv2.cvtColor(source, cv2.COLOR_RGB2GRAY))[0])
    away = np.zeros((3, 4), np.float32)
    away[[0, 1, 2], [0, 1, 2]] = factor
    away[:, 3] = mean * (1 - factor)
    cv2.transform(source, away, target)


def _gray(channels: tuple[int, ...]) -> Step:
    def gray(source: Bytes, target: Bytes, t: int) -> None:
        cv2.mixChannels([source], [target], [channels[t], 0, channels[t], 1, channels[t], 2])

    return gray


def _blur(sigma: float) -> Step:
    """Gaussian, beyond the border the border's own pixels, as in PIL. GaussianBlur on bytes takes three times as long."""
    kernel = cv2.getGaussianKernel(round(6 * sigma + 1) | 1, sigma)
    return lambda source, target, _t: cv2.sepFilter2D(
        source, -1, kernel, kernel, target, borderType=cv2.BORDER_REPLICATE
    )
