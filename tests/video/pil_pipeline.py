"""The augmentation of CoCLR's public code, frame by frame with PIL: what ours is compared with, here and in benchmarks/."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from cprspec.video.augment import Bytes, Drawn

ENHANCERS = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}


def pil_frame(picture: Image.Image, drawn: Drawn, channel: int | None, size: int) -> Bytes:
    """One frame `[size,size,3]`; `channel` is shown in all three."""
    top, left, height, width = drawn.box
    frame = picture.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
    for name, factor in drawn.colours:
        frame = turned(frame, factor) if name == "hue" else ENHANCERS[name](frame).enhance(factor)
    if channel is not None:
        frame = Image.merge("RGB", (frame.split()[channel],) * 3)
    if drawn.sigma:
        frame = frame.filter(ImageFilter.GaussianBlur(drawn.sigma))
    if drawn.flip:
        frame = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(frame)


def turned(frame: Image.Image, turns: float) -> Image.Image:
    """The colour circle turned, in HSV."""
    hue, saturation, value = frame.convert("HSV").split()
    levels = (np.asarray(hue).astype(np.int16) + round(turns * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(levels.astype(np.uint8)), saturation, value)).convert("RGB")


def pil_clip(pictures: list[Image.Image], drawn: Drawn, size: int, out: Bytes | None = None) -> Bytes:
    """A clip `[T,size,size,3]`, in `out` if given."""
    out = np.empty((len(pictures), size, size, 3), np.uint8) if out is None else out
    channels = drawn.gray or (None,) * len(pictures)
    for t, (picture, channel) in enumerate(zip(pictures, channels, strict=True)):
        out[t] = pil_frame(picture, drawn, channel, size)
    return out
