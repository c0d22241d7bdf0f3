"""torchvision's video ResNets without their pool and classifier: r3d_18, mc3_18 and r2plus1d_18.

The layers, their names and their initial values are torchvision's own, so its weights load once `fc.*` is left out. This is the
one module that imports torchvision's models (4 s), so only `build` of the component imports it. Source: Tran et al., CVPR 2018.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models import video  # type: ignore[import-untyped]

from cprspec.models.widths import TORCHVISION_FEATURES

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")


class TorchvisionResNet(nn.Sequential):
    """`[N,3,T,H,W] -> [N,feature_size,t,h,w]`: H and W are divided by 16, T by 8 (mc3_18: T stays), rounded up."""

    def __init__(self, network: str) -> None:
        whole: nn.Module = getattr(video, network)(weights=None)
        super().__init__(OrderedDict((layer, getattr(whole, layer)) for layer in LAYERS))
        self.feature_size = TORCHVISION_FEATURES
