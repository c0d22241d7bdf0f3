"""S3D, separable 3D Inception, optionally with self gating (S3D-G): the backbone of CoCLR and CPR.

Every parameter is called as in the published checkpoints (`Conv_1a.conv1.weight`, `Mixed_3b.branch1.1.bn2.bias` ...), so
those load as they are. They also hold every tensor a second time under `block1` ... `block5`; loading ignores these.
Source: Xie et al., ECCV 2018; initial values and batch-norm settings are CoCLR's.

Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from cprspec.models.parts import InParts
from cprspec.models.separable import (
    Conv3d,
    MaxPool3d,
    channels_last,
    join_channels,
    relu_of_norm,
    side_by_side,
)
from cprspec.models.widths import BLOCKS, STEM, BlockWidths, block_size, scaled, scaled_block

_ALIAS = re.compile(r"block[1-5]\.")


class Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    norm_after: ClassVar = {"conv": "bn"}

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv3d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,outputs,T,H,W]`."""
        return relu_of_norm(self.conv(x_NCTHW), self.bn)


class SeparableConv(nn.Module):
    """A convolution in space, then one in time, each with batch norm and ReLU."""

    norm_after: ClassVar = {"conv1": "bn1", "conv2": "bn2"}

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv1 = Conv3d(inputs, outputs, (1, kernel, kernel), (1, stride, stride), (0, pad, pad), bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = Conv3d(outputs, outputs, (kernel, 1, 1), (stride, 1, 1), (pad, 0, 0), bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,outputs,T/stride,H/stride,W/stride]`."""
        x_NCTHW = relu_of_norm(self.conv1(x_NCTHW), self.bn1)
        return relu_of_norm(self.conv2(x_NCTHW), self.bn2)


class Gate(nn.Module):
    """Self gating: each channel is multiplied by a sigmoid of a linear map of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """The shape stays."""
        weight_NC = torch.sigmoid(self.fc(x_NCTHW.mean(dim=(2, 3, 4))))
        return x_NCTHW * weight_NC[:, :, None, None, None]


class Block(nn.Module):
    """Separable inception block: four branches side by side, each gated where the network is."""

    def __init__(self, inputs: int, widths: BlockWidths, gating: bool = False) -> None:
        super().__init__()
        b0, b1_in, b1, b2_in, b2, b3 = widths
        self.branch0 = nn.Sequential(Conv(inputs, b0))
        self.branch1 = nn.Sequential(Conv(inputs, b1_in), SeparableConv(b1_in, b1, 3))
        self.branch2 = nn.Sequential(Conv(inputs, b2_in), SeparableConv(b2_in, b2, 3))
        self.branch3 = nn.Sequential(MaxPool3d(3, stride=1, padding=1), Conv(inputs, b3))
        self.gating = gating
        if gating:
            for branch, channels in enumerate((b0, b1, b2, b3)):
                self.add_module(f"gating_b{branch}", Gate(channels))

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,block_size(widths),T,H,W]`."""
        parts = [*self._beside(x_NCTHW), self.branch3(x_NCTHW)]
        if self.gating:
            parts = [getattr(self, f"gating_b{i}")(part) for i, part in enumerate(parts)]
        return join_channels(parts)

    def _beside(self, x_NCTHW: Tensor) -> list[Tensor]:
        """Branches 0 to 2, which begin with 1x1x1 convolutions of the same clips."""
        layers = [cast("Conv", branch[0]) for branch in (self.branch0, self.branch1, self.branch2)]
        part0, part1, part2 = side_by_side(x_NCTHW, [layer.conv for layer in layers], [layer.bn for layer in layers])
        return [part0, self.branch1[1](part1), self.branch2[1](part2)]


class S3D(InParts):
    """`[N,3,T,H,W] -> [N,feature_size,T/8,H/32,W/32]`; T at least 5, H and W at least 17.

    `width` scales every layer's channels, 7,910,048 parameters at width 1. `feature_size`: channels of the map.
    """

    def __init__(self, width: float = 1.0, gating: bool = False) -> None:
        super().__init__()
        stem = [scaled(channels, width) for channels in STEM]
        self.Conv_1a = SeparableConv(3, stem[0], 7, stride=2)
        self.Conv_2b = Conv(stem[0], stem[1])
        self.Conv_2c = SeparableConv(stem[1], stem[2], 3)
        sizes = {name: scaled_block(name, width) for name in BLOCKS}
        inputs = [stem[2], *(block_size(widths) for widths in sizes.values())]
        for (name, widths), (size_in, _) in zip(sizes.items(), pairwise(inputs), strict=True):
            self.add_module(name, Block(size_in, widths, gating))
        self.feature_size = inputs[-1]
        # Pools hold no weights and stand before stages 2 to 5.
        self.pools = nn.ModuleList(
            [
                MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
                MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
                MaxPool3d(3, 2, 1),
                MaxPool3d(2, 2),
            ]
        )
        self.apply(_initialise)
        self.register_load_state_dict_pre_hook(_drop_aliases)  # type: ignore[no-untyped-call]

    def stages(self, x_NCTHW: Tensor) -> list[Tensor]:
        """The feature maps after each of the five stages; the last is the network's output."""
        maps = [self.part(channels_last(x_NCTHW), self.Conv_1a)]
        maps.append(self.part(maps[-1], self.pools[0], self.Conv_2b, self.Conv_2c))
        for pool, stage in zip(list(self.pools)[1:], "345", strict=True):
            first, *others = (getattr(self, name) for name in BLOCKS if name.startswith(f"Mixed_{stage}"))
            x = self.part(maps[-1], pool, first)
            for block in others:
                x = self.part(x, block)
            maps.append(x)
        return maps

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`."""
        return self.stages(x_NCTHW)[-1]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.normal_(module.weight, 0.0, 0.01)
    elif isinstance(module, nn.BatchNorm3d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def _drop_aliases(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for key in [k for k in state if k.startswith(prefix) and _ALIAS.match(k, len(prefix))]:
        del state[key]
