"""The channels of every backbone, and what a width factor makes of them: the one place that knows feature sizes.

No torch, so that specs can be checked without it. Sources: S3D: Xie et al., "Rethinking Spatiotemporal Feature Learning"
(ECCV 2018), as in CoCLR's published checkpoints; the others: see the modules of their networks.
"""

from __future__ import annotations

STEM = (64, 64, 192)
"""Output channels of Conv_1a, Conv_2b, Conv_2c."""

BlockWidths = tuple[int, int, int, int, int, int]
"""Of an inception block: branch 0; branch 1 reduced, out; branch 2 reduced, out; branch 3."""

BLOCKS: dict[str, BlockWidths] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 4 and at least 4; unchanged at width 1."""
    return max(4, 4 * round(channels * width / 4))


def scaled_block(name: str, width: float) -> BlockWidths:
    """The widths of block `name` (such as `Mixed_3b`) at `width`."""
    a, b, c, d, e, f = (scaled(n, width) for n in BLOCKS[name])
    return a, b, c, d, e, f


def block_size(widths: BlockWidths) -> int:
    """Output channels of an inception block: its four branches side by side."""
    return widths[0] + widths[2] + widths[4] + widths[5]


def s3d_feature_size(width: float = 1.0) -> int:
    """Channels of S3D's feature map: 1024 at width 1."""
    return block_size(scaled_block("Mixed_5c", width))


TINY = (16, 32, 64, 128)
"""Output channels of the tiny network's layers at width 1."""


def tiny_feature_size(width: float = 1.0) -> int:
    """Channels of the tiny network's feature map: 128 at width 1."""
    return scaled(TINY[-1], width)


RESNET3D = (64, 64, 128, 256, 512)
"""Output channels of R3D's and R(2+1)D's stem and four stages."""


def resnet3d_feature_size(width: float = 1.0) -> int:
    """Channels of the feature map of R3D, R3D-18 and R(2+1)D: 512 at width 1."""
    return scaled(RESNET3D[-1], width)


C3D = {"1": 64, "2": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}
"""Output channels of each convolution of C3D, by the end of its name."""


def c3d_feature_size(width: float = 1.0) -> int:
    """Channels of C3D's feature map: 512 at width 1."""
    return scaled(C3D["5b"], width)


R2D3D_STEM = 64
"""Output channels of the first layer of R2D3D-50."""

R2D3D = (64, 128, 256, 512)
"""Inner channels of each stage's bottlenecks in R2D3D-50."""

EXPANSION = 4
"""Output channels of a bottleneck for each inner channel."""


def r2d3d_feature_size(width: float = 1.0) -> int:
    """Channels of the feature map of R2D3D-50: 2048 at width 1."""
    return EXPANSION * scaled(R2D3D[-1], width)


TORCHVISION_FEATURES = 512
"""Channels of the feature map of torchvision's three video ResNets, which have no width factor."""
