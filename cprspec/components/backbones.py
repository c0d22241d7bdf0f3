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


COMPONENTS = (S3D, Tiny)
