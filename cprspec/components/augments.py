"""Augmentation of training clips: CoCLR's as published, the same with its flow mistakes mended, and IIC's plain crop."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import Augment, option


@frozen(kw_only=True)
class CoCLR(Augment):
    """CoCLR's two-clip pipeline: each clip strong with probability `strong`, else only cropped and mirrored.

    `flow_aware = false` is as published: flow is mirrored without negating x and gets the colour jitter too. With
    `flow_aware = true` (the `clean` card) x flow is negated when mirroring and flow colours are left alone.
    """

    name: ClassVar[str] = "coclr"
    tries: ClassVar[int] = 1
    flow_aware: bool = option(False, help="negate x flow when mirroring, and leave flow colours alone")
    flip: float = option(0.5, help="probability of mirroring; 0 where classes mirror each other", ge=0, le=1)
    min_area: float = option(0.2, help="smallest share of the frame that a crop covers", gt=0, le=1)
    strong: float = option(0.3, help="probability that a clip is jittered, grayed and blurred at all", ge=0, le=1)
    jitter: float = option(0.8, help="probability of colour jitter in a strong clip", ge=0, le=1)
    brightness: float = option(0.4, help="largest relative change", ge=0, le=1)
    contrast: float = option(0.4, help="largest relative change", ge=0, le=1)
    saturation: float = option(0.4, help="largest relative change", ge=0, le=1)
    hue: float = option(0.1, help="largest change, in turns of the colour circle", ge=0, le=0.5)
    gray: float = option(0.2, help="probability that every frame shows one random channel in a strong clip", ge=0, le=1)
    blur: float = option(0.5, help="probability of gaussian blur in a strong clip", ge=0, le=1)
    one_clip: float = option(
        0.5, help="probability that both sides see one clip, one strong and one weak, instead of two clips", ge=0, le=1
    )


@frozen(kw_only=True)
class Downstream(CoCLR):
    """CoCLR's pipeline for recognition: crop, mirroring, and colour jitter with probability `strong` (PROTOCOL 2.2).

    A box that does not fit the picture is drawn again, up to ten times; after that it is the centre square.
    """

    name: ClassVar[str] = "downstream"
    tries: ClassVar[int] = 10
    jitter: float = option(1.0, help="probability of colour jitter in a strong clip", ge=0, le=1)
    gray: float = option(0.0, help="probability that every frame shows one random channel in a strong clip", ge=0, le=1)
    blur: float = option(0.0, help="probability of gaussian blur in a strong clip", ge=0, le=1)


@frozen(kw_only=True)
class Crop(Augment):
    """A crop of the clip's size at a random place, once per clip and alike in every view; nothing else (IIC).

    IIC resizes pictures to 128x171 first and crops 112 (the `iic` card). Flow is mirrored with its x negated.
    """

    name: ClassVar[str] = "crop"
    flow_aware: ClassVar[bool] = True
    frame: tuple[int, ...] = option(
        (),
        help="height and width to which pictures are resized before the crop, pixels; none: as they are stored",
        ge=8,
    )
    flip: float = option(0.0, help="probability of mirroring", ge=0, le=1)


COMPONENTS = (CoCLR, Downstream, Crop)
