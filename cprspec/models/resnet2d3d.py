"""R2D3D-50: a ResNet-50 whose last two of four stages also look along time; CoCLR's `r50`.

Every parameter is called as in CoCLR's published code, and the initial values are its (He, fan out). Time is halved once, in
the first layer. Source: Qian et al., CVPR 2021 (CVRL); Han et al., NeurIPS 2020 (CoCLR).

Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cprspec.models.parts import InParts
from cprspec.models.separable import Conv3d, MaxPool3d, channels_last, relu_of_norm
from cprspec.models.widths import EXPANSION, R2D3D, R2D3D_STEM, scaled

BLOCKS = (3, 4, 6, 3)
"""Blocks of each stage."""

KERNELS_T = (1, 1, 3, 3)
"""Frames that a block of each stage sees."""


class Bottleneck(nn.Module):
    """Reduce (and look along time), look over space, widen; beside a shortcut."""

    norm_after: ClassVar = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}

    def __init__(self, inputs: int, inner: int, outputs: int, kernel_t: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv3d(inputs, inner, (kernel_t, 1, 1), padding=(kernel_t // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = Conv3d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            shortcut = Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(outputs))

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,outputs,T,H/stride,W/stride]`, rounded up."""
        residual = relu_of_norm(self.conv1(x_NCTHW), self.bn1)
        residual = relu_of_norm(self.conv2(residual), self.bn2)
        residual = self.bn3(self.conv3(residual))
        return torch.relu(residual + self.downsample(x_NCTHW))


class R2D3D50(InParts):
    """`[N,3,T,H,W] -> [N,feature_size,T/2,H/32,W/32]`, rounded up. `width` scales every layer's channels."""

    norm_after: ClassVar = {"conv1": "bn1"}

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem = scaled(R2D3D_STEM, width)
        self.conv1 = Conv3d(3, stem, (5, 7, 7), stride=2, padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(stem)
        self.maxpool = MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        inputs = stem
        for number, (channels, count, kernel_t) in enumerate(zip(R2D3D, BLOCKS, KERNELS_T, strict=True), start=1):
            inner = scaled(channels, width)
            outputs = inner * EXPANSION
            stage = nn.Sequential()
            for block in range(count):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(Bottleneck(inputs, inner, outputs, kernel_t, stride))
                inputs = outputs
            self.add_module(f"layer{number}", stage)
        self.feature_size = inputs
        self.apply(_initialise)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`."""
        x_NCTHW = self.part(channels_last(x_NCTHW), self.conv1, self.bn1, nn.functional.relu_, self.maxpool)
        for number in range(1, len(BLOCKS) + 1):
            for block in getattr(self, f"layer{number}"):
                x_NCTHW = self.part(x_NCTHW, block)
        return x_NCTHW


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
