"""Which backbone a set of tensors belongs to, and at which size: told from names and shapes alone.

A backbone is one row of FAMILIES: to accept another one, add its row. What a row concludes is checked against every shape
afterwards, so a row may guess from a few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from attrs import frozen

from cprspec.components.backbones import C3D, R2D3D50, S3D, ResNet3D, Tiny, Torchvision
from cprspec.models import widths
from cprspec.spec.kinds import Backbone

Tensors = Mapping[str, torch.Tensor]


@frozen
class Family:
    """A backbone: `mark` is a tensor that only it has; `build` gives the component that fits the tensors' shapes."""

    name: str
    mark: str
    build: Callable[[Tensors], Backbone]


def _s3d(tensors: Tensors) -> Backbone:
    layers = {
        "Mixed_5c.branch0.0.conv.weight": widths.BLOCKS["Mixed_5c"][0],
        "Conv_2c.conv1.weight": widths.STEM[2],
        "Conv_1a.conv1.weight": widths.STEM[0],
    }
    return S3D(width=_width(tensors, layers), gating=any(".gating_b0." in key for key in tensors))


def _tiny(tensors: Tensors) -> Backbone:
    return Tiny(width=_width(tensors, {"layers.9.weight": widths.TINY[-1], "layers.0.weight": widths.TINY[0]}))


def _resnet3d(tensors: Tensors) -> Backbone:
    blocks = len({key.split(".")[2] for key in tensors if key.startswith("conv2.blocks.")}) + 1
    factored = "conv1.spatial_conv.weight" in tensors
    last = "conv5.block1.conv2.temporal_conv.weight" if factored else "conv5.block1.conv2.temporal_spatial_conv.weight"
    return ResNet3D(blocks=blocks, factored=factored, width=_width(tensors, {last: widths.RESNET3D[-1]}))


def _c3d(tensors: Tensors) -> Backbone:
    return C3D(width=_width(tensors, {"conv5b.weight": widths.C3D["5b"], "conv3a.weight": widths.C3D["3a"]}))


def _r2d3d50(tensors: Tensors) -> Backbone:
    last = widths.EXPANSION * widths.R2D3D[-1]
    return R2D3D50(width=_width(tensors, {"layer4.0.conv3.weight": last, "conv1.weight": widths.R2D3D_STEM}))


def _torchvision(tensors: Tensors) -> Backbone:
    """The three differ in kernels: r2plus1d_18 factors its stem, mc3_18 convolves in space alone from layer 2 on."""
    later = tensors.get("layer2.0.conv1.0.weight")
    if "stem.3.weight" in tensors:
        return Torchvision(network="r2plus1d_18")
    return Torchvision(network="mc3_18" if later is not None and later.shape[2:3] == (1,) else "r3d_18")


def _width(tensors: Tensors, layers: Mapping[str, int]) -> float:
    """The width factor that the first of `layers` shows, from its output channels and those at width 1."""
    for name, channels in layers.items():
        if name in tensors and tensors[name].ndim:
            return tensors[name].shape[0] / channels
    return 1.0


FAMILIES = (
    Family("s3d", "Conv_1a.conv1.weight", _s3d),
    Family("tiny", "layers.0.weight", _tiny),
    Family("r3d", "conv1.temporal_spatial_conv.weight", _resnet3d),
    Family("r21d", "conv1.spatial_conv.weight", _resnet3d),
    Family("c3d", "conv3a.weight", _c3d),
    Family("r2d3d50", "layer1.0.conv3.weight", _r2d3d50),
    Family("torchvision", "stem.0.weight", _torchvision),
)
"""Every backbone whose weights can be imported."""


def family_of(names: Mapping[str, object] | frozenset[str], prefix: str = "") -> Family | None:
    """The family whose mark stands among `names` behind `prefix`."""
    return next((family for family in FAMILIES if prefix + family.mark in names), None)
