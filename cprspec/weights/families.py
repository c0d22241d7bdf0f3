"""Which backbone a set of tensors belongs to, and at which size: told from names and shapes alone.

A backbone is one row of FAMILIES: to accept another one, add its row. What a row concludes is checked against every shape
afterwards, so a row may guess from a few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from attrs import frozen

from cprspec.components.backbones import S3D, Tiny
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


def _width(tensors: Tensors, layers: Mapping[str, int]) -> float:
    """The width factor that the first of `layers` shows, from its output channels and those at width 1."""
    for name, channels in layers.items():
        if name in tensors and tensors[name].ndim:
            return tensors[name].shape[0] / channels
    return 1.0


FAMILIES = (Family("s3d", "Conv_1a.conv1.weight", _s3d), Family("tiny", "layers.0.weight", _tiny))
"""Every backbone whose weights can be imported."""


def family_of(names: Mapping[str, object] | frozenset[str], prefix: str = "") -> Family | None:
    """The family whose mark stands among `names` behind `prefix`."""
    return next((family for family in FAMILIES if prefix + family.mark in names), None)
