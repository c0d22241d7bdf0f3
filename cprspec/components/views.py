"""Views: what a clip is seen as."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from cprspec.spec.kinds import View, option

METHODS = ("dis", "tvl1", "tvl1-light")
"""Flow methods: OpenCV's DIS at its medium preset, its Dual TV-L1 as it comes, and a lighter one (video/flow.py)."""


def _normalise() -> Any:
    """How bytes become the network's input: CoCLR and CPR normalise by ImageNet's statistics, IIC does not."""
    return option(
        "imagenet",
        help="of x / 255: by ImageNet's mean and standard deviation, or none (IIC)",
        choices=("imagenet", "none"),
        added_later=True,
    )


@frozen(kw_only=True)
class Rgb(View):
    """The pictures themselves."""

    name: ClassVar[str] = "rgb"
    reads: ClassVar[str] = "rgb"
    normalise: str = _normalise()


@frozen(kw_only=True)
class Flow(View):
    """Optical flow, bounded and stored as bytes: u8 = round((f + bound) * 255 / (2 bound)); channels (128, y, x)."""

    name: ClassVar[str] = "flow"
    reads: ClassVar[str] = "flow"
    method: str = option(
        "dis",
        help="how flow is computed: DIS (fast), Dual TV-L1 (published), or that with fewer iterations",
        choices=METHODS,
    )
    bound: float = option(20.0, help="largest motion kept, pixels per frame at the stored size", gt=0)
    normalise: str = _normalise()


@frozen(kw_only=True)
class FlowComponent(Flow):
    """One component of optical flow as a grey picture (IIC): x (its `u`) or y (its `v`), quantised as `flow` is."""

    name: ClassVar[str] = "flow-component"
    axis: str = option(help="which component", choices=("x", "y"))


@frozen(kw_only=True)
class Residual(View):
    """Frame differences, circular: frame 0 minus the last one first (IIC). Rescaled they are (x_t - x_{t-1} + 1) / 2."""

    name: ClassVar[str] = "residual"
    reads: ClassVar[str] = "rgb"
    rescale: bool = option(
        True, help="into 0 to 1, as in pre-training and retrieval; IIC fine-tunes without", added_later=True
    )
    normalise: str = _normalise()


COMPONENTS = (Rgb, Flow, FlowComponent, Residual)
