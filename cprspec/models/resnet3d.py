"""Three-dimensional residual networks: R3D, R3D-18 and R(2+1)D, the backbones of IIC.

They differ in a table: how many blocks a stage has (one: R3D and R(2+1)D; two: R3D-18) and whether a convolution sees space
and time at once or one after the other. Every parameter is called as in IIC's published checkpoints, except for their
classifier; initial values are PyTorch's, as there. Source: Tran et al., CVPR 2018; Tao et al., ACM MM 2020 (IIC).

Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from cprspec.models.parts import InParts
from cprspec.models.separable import Conv3d, Triple, channels_last, relu_of_norm
from cprspec.models.widths import RESNET3D, scaled


class JointConv(nn.Module):
    """A convolution over space and time at once, without bias, padded so that stride 1 keeps the size."""

    last = "temporal_spatial_conv"

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        t, h, w = kernel
        padding = (t // 2, h // 2, w // 2)
        self.temporal_spatial_conv = Conv3d(inputs, outputs, kernel, stride, padding, bias=False)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,outputs,T/stride,H/stride,W/stride]`, rounded up."""
        output: Tensor = self.temporal_spatial_conv(x_NCTHW)
        return output


class FactoredConv(nn.Module):
    """A convolution in space, batch norm, ReLU, then one in time: as many weights as the joint convolution."""

    last = "temporal_conv"
    norm_after: ClassVar = {"spatial_conv": "bn"}

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        (t, h, w), (stride_t, stride_h, stride_w) = kernel, stride
        # Tran et al. section 3.5: so many channels between the two that the number of weights stays.
        between = t * h * w * inputs * outputs // (h * w * inputs + t * outputs)
        self.spatial_conv = Conv3d(inputs, between, (1, h, w), (1, stride_h, stride_w), (0, h // 2, w // 2), bias=False)
        self.bn = nn.BatchNorm3d(between)
        self.temporal_conv = Conv3d(between, outputs, (t, 1, 1), (stride_t, 1, 1), (t // 2, 0, 0), bias=False)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """As `JointConv`."""
        output: Tensor = self.temporal_conv(relu_of_norm(self.spatial_conv(x_NCTHW), self.bn))
        return output


Conv = type[JointConv] | type[FactoredConv]


class Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut; one that halves the size has a convolution in its shortcut."""

    def __init__(self, inputs: int, outputs: int, conv: Conv, halve: bool = False) -> None:
        super().__init__()
        stride: Triple = (2, 2, 2) if halve else (1, 1, 1)
        self.halve = halve
        if halve:
            self.downsampleconv = conv(inputs, outputs, (1, 1, 1), stride)
            self.downsamplebn = nn.BatchNorm3d(outputs)
        self.conv1 = conv(inputs, outputs, (3, 3, 3), stride)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = conv(outputs, outputs, (3, 3, 3), (1, 1, 1))
        self.bn2 = nn.BatchNorm3d(outputs)
        norms = {"conv1": "bn1", "conv2": "bn2", **({"downsampleconv": "downsamplebn"} if halve else {})}
        self.norm_after = {f"{name}.{conv.last}": norm for name, norm in norms.items()}

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,inputs,T,H,W] -> [N,outputs,T,H,W]`, T, H and W halved and rounded up where the block halves."""
        residual = self.bn2(self.conv2(relu_of_norm(self.conv1(x_NCTHW), self.bn1)))
        shortcut = self.downsamplebn(self.downsampleconv(x_NCTHW)) if self.halve else x_NCTHW
        return torch.relu(shortcut + residual)


class Stage(nn.Module):
    """A block that may change the size, then blocks that keep it."""

    def __init__(self, inputs: int, outputs: int, count: int, conv: Conv, halve: bool) -> None:
        super().__init__()
        self.block1 = Block(inputs, outputs, conv, halve)
        self.blocks = nn.ModuleList(Block(outputs, outputs, conv) for _ in range(count - 1))

    def __iter__(self) -> Iterator[nn.Module]:
        """Its blocks, in order."""
        return iter((self.block1, *self.blocks))


class ResNet3D(InParts):
    """`[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]`, rounded up. `width` scales every layer's channels."""

    def __init__(self, blocks: int = 1, factored: bool = False, width: float = 1.0) -> None:
        super().__init__()
        conv: Conv = FactoredConv if factored else JointConv
        channels = [scaled(n, width) for n in RESNET3D]
        self.conv1 = conv(3, channels[0], (3, 7, 7), (1, 2, 2))
        self.bn1 = nn.BatchNorm3d(channels[0])
        self.norm_after = {f"conv1.{conv.last}": "bn1"}
        for number, (inputs, outputs) in enumerate(pairwise(channels), start=2):
            self.add_module(f"conv{number}", Stage(inputs, outputs, blocks, conv, halve=number > 2))
        self.feature_size = channels[-1]

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`."""
        x_NCTHW = self.part(channels_last(x_NCTHW), self.conv1, self.bn1, nn.functional.relu_)
        for number in range(2, 6):
            for block in getattr(self, f"conv{number}"):
                x_NCTHW = self.part(x_NCTHW, block)
        return x_NCTHW
