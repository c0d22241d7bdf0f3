"""C3D with batch norm: eight 3x3x3 convolutions and pools between them, a backbone of IIC.

Every parameter is called as in IIC's published checkpoints, except for their classifier; initial values are PyTorch's, as
there. Source: Tran et al., ICCV 2015; Tao et al., ACM MM 2020 (IIC), which adds batch norm and drops the linear layers.

Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cprspec.models.parts import InParts
from cprspec.models.separable import MaxPool3d
from cprspec.models.widths import C3D as CHANNELS
from cprspec.models.widths import scaled

POOLS = {"2": (1, 2, 2), "3a": (2, 2, 2), "4a": (2, 2, 2), "5a": (2, 2, 2)}
"""Time, height and width of the max pool before a layer."""


class C3D(InParts):
    """`[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]`, rounded down; T at least 8, H and W at least 16."""

    norm_after: ClassVar = {f"conv{layer}": f"bn{layer}" for layer in CHANNELS}

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = 3
        for layer, channels in CHANNELS.items():
            outputs = scaled(channels, width)
            self.add_module(f"conv{layer}", nn.Conv3d(inputs, outputs, 3, padding=1))
            self.add_module(f"bn{layer}", nn.BatchNorm3d(outputs))
            inputs = outputs
        self.feature_size = inputs

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`."""
        for layer in CHANNELS:
            pool = [MaxPool3d(POOLS[layer])] if layer in POOLS else []
            x_NCTHW = self.part(x_NCTHW, *pool, getattr(self, f"conv{layer}"), getattr(self, f"bn{layer}"), torch.relu)
        return x_NCTHW
