"""From clips as bytes to what a network takes: floats, ImageNet-normalised, on the clips' device.

Legend: N clips, T frames, H height, W width, 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cprspec.components.views import Residual
from cprspec.spec.kinds import View

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """`uint8 [N,T,H,W,3] -> float32 [N,3,T,H,W]` for clips of `view`.

    A residual is (x_t - x_{t-1} + 1) / 2 with frame 0 minus the last frame, as IIC has it; flow is normalised like RGB, as
    published weights expect.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, view: View) -> None:
        super().__init__()
        self._residual = isinstance(view, Residual)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1, 1), persistent=False)

    def forward(self, clip_NTHWC: Tensor) -> Tensor:
        """The network's input."""
        clip = clip_NTHWC.permute(0, 4, 1, 2, 3).float() / 255
        if self._residual:
            clip = (clip - clip.roll(1, dims=2) + 1) / 2
        return (clip - self.mean) / self.std
