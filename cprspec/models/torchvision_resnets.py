"""torchvision's video ResNets without their pool and classifier: r3d_18, mc3_18 and r2plus1d_18.

The layers, their names and their initial values are torchvision's own, so its weights load once `fc.*` is left out. What
convolves in space or time alone is computed as in models/separable.py. This is the one module that imports torchvision's models
(4 s), so only `build` of the component imports it. Source: Tran et al., CVPR 2018.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import video  # type: ignore[import-untyped]

from cprspec.models.parts import InParts
from cprspec.models.separable import Conv3d, channels_last
from cprspec.models.widths import TORCHVISION_FEATURES

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")


class TorchvisionResNet(InParts):
    """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`: H and W are divided by 16, T by 8 (mc3_18: T stays), rounded up."""

    def __init__(self, network: str) -> None:
        whole: nn.Module = getattr(video, network)(weights=None)
        super().__init__()
        for layer in LAYERS:
            self.add_module(layer, getattr(whole, layer))
        for conv in self.modules():
            if isinstance(conv, nn.Conv3d):
                conv.__class__ = Conv3d  # torchvision's own still, computed in our way
        self.feature_size = TORCHVISION_FEATURES

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`."""
        stem, *stages = (getattr(self, layer) for layer in LAYERS)
        x_NCTHW = self.part(channels_last(x_NCTHW), stem)
        for stage in stages:
            for block in stage:
                x_NCTHW = self.part(x_NCTHW, block)
        return x_NCTHW
