"""Views: what a clip is seen as."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import View, option


@frozen(kw_only=True)
class Rgb(View):
    """The pictures themselves, ImageNet-normalised."""

    name: ClassVar[str] = "rgb"
    reads: ClassVar[str] = "rgb"


@frozen(kw_only=True)
class Flow(View):
    """Optical flow, bounded and stored as bytes: u8 = round((f + bound) * 255 / (2 bound)); channels (128, y, x)."""

    name: ClassVar[str] = "flow"
    reads: ClassVar[str] = "flow"
    method: str = option(
        "dis", help="how flow is computed: DIS (fast) or Dual TV-L1 (published)", choices=("dis", "tvl1")
    )
    bound: float = option(20.0, help="largest motion kept, pixels per frame at the stored size", gt=0)


@frozen(kw_only=True)
class Residual(View):
    """Frame differences, circular and rescaled: (x_t - x_{t-1} + 1) / 2 (IIC)."""

    name: ClassVar[str] = "residual"
    reads: ClassVar[str] = "rgb"


COMPONENTS = (Rgb, Flow, Residual)
