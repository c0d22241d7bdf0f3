"""Backbones: networks that turn a clip into a feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from cprspec.spec.kinds import Backbone, option

if TYPE_CHECKING:
    from torch import nn


@frozen(kw_only=True)
class S3D(Backbone):
    """Separable 3D Inception (Xie et al., ECCV 2018), the backbone of CoCLR and CPR: 1024 channels at width 1."""

    name: ClassVar[str] = "s3d"
    smallest: ClassVar[tuple[int, int]] = (5, 17)
    width: float = option(1.0, help="factor on every layer's number of channels", gt=0, le=4)
    gating: bool = option(False, help="self gating after each block's branches (S3D-G)")

    @property
    def feature_size(self) -> int:
        """Channels of the last block: 1024 at width 1."""
        from cprspec.models.widths import s3d_feature_size

        return s3d_feature_size(self.width)

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/8,H/32,W/32]`."""
        from cprspec.models import s3d

        return s3d.S3D(width=self.width, gating=self.gating)


@frozen(kw_only=True)
class Tiny(Backbone):
    """Four 3x3x3 convolutions, 0.3 million parameters: for demonstrations and tests on a CPU, not for results."""

    name: ClassVar[str] = "tiny"
    width: float = option(1.0, help="factor on every layer's number of channels", gt=0, le=8)

    @property
    def feature_size(self) -> int:
        """Channels of the last layer: 128 at width 1."""
        from cprspec.models.widths import tiny_feature_size

        return tiny_feature_size(self.width)

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]`, rounded up."""
        from cprspec.models import tiny

        return tiny.Tiny(width=self.width)


@frozen(kw_only=True)
class ResNet3D(Backbone):
    """3D ResNet of IIC (Tran et al., CVPR 2018): R3D, R3D-18 and R(2+1)D are cards of it; 512 channels at width 1."""

    name: ClassVar[str] = "resnet3d"
    blocks: int = option(1, help="residual blocks in each of the four stages: 1 in R3D and R(2+1)D, 2 in R3D-18", ge=1)
    factored: bool = option(False, help="convolve in space, then in time: R(2+1)D")
    width: float = option(1.0, help="factor on every layer's number of channels", gt=0, le=4)

    @property
    def feature_size(self) -> int:
        """Channels of the last stage: 512 at width 1."""
        from cprspec.models.widths import resnet3d_feature_size

        return resnet3d_feature_size(self.width)

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]`, rounded up."""
        from cprspec.models import resnet3d

        return resnet3d.ResNet3D(blocks=self.blocks, factored=self.factored, width=self.width)


@frozen(kw_only=True)
class C3D(Backbone):
    """Eight 3x3x3 convolutions with batch norm (Tran et al., ICCV 2015), as in IIC: 512 channels at width 1."""

    name: ClassVar[str] = "c3d"
    smallest: ClassVar[tuple[int, int]] = (8, 16)
    width: float = option(1.0, help="factor on every layer's number of channels", gt=0, le=4)

    @property
    def feature_size(self) -> int:
        """Channels of the last layer: 512 at width 1."""
        from cprspec.models.widths import c3d_feature_size

        return c3d_feature_size(self.width)

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]`, rounded down."""
        from cprspec.models import c3d

        return c3d.C3D(width=self.width)


@frozen(kw_only=True)
class R2D3D50(Backbone):
    """ResNet-50 with two stages in space and two in space and time, CoCLR's `r50`: 2048 channels at width 1."""

    name: ClassVar[str] = "r2d3d50"
    width: float = option(1.0, help="factor on every layer's number of channels", gt=0, le=4)

    @property
    def feature_size(self) -> int:
        """Channels of the last stage: 2048 at width 1."""
        from cprspec.models.widths import r2d3d_feature_size

        return r2d3d_feature_size(self.width)

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/2,H/32,W/32]`, rounded up."""
        from cprspec.models import resnet2d3d

        return resnet2d3d.R2D3D50(width=self.width)


@frozen(kw_only=True)
class Torchvision(Backbone):
    """A video ResNet of torchvision without its classifier, untrained: 512 channels."""

    name: ClassVar[str] = "torchvision"
    network: str = option(help="its name in torchvision.models.video", choices=("r3d_18", "mc3_18", "r2plus1d_18"))

    @property
    def feature_size(self) -> int:
        """Channels of the last stage: 512."""
        from cprspec.models.widths import TORCHVISION_FEATURES

        return TORCHVISION_FEATURES

    def build(self) -> nn.Module:
        """The network, `[N,3,T,H,W] -> [N,feature_size,T/8,H/16,W/16]` rounded up; mc3_18 keeps T."""
        from cprspec.models import torchvision_resnets

        return torchvision_resnets.TorchvisionResNet(self.network)


COMPONENTS = (S3D, Tiny, ResNet3D, C3D, R2D3D50, Torchvision)
