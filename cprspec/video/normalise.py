"""From clips as bytes to what a network takes: floats on the clips' device, as the view says.

Legend: N clips, T frames, H height, W width, 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cprspec.components.views import FlowComponent, Residual
from cprspec.spec.kinds import View

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

CHANNEL = {"x": 2, "y": 1}
"""Where flow's components stand in a clip's channels, which are (128, y, x)."""


def statistics(view: View) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by which the channels of `view` are normalised, of x / 255."""
    return (MEAN, STD) if view.normalise == "imagenet" else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def residual(clip_NCTHW: Tensor, rescale: bool = True) -> Tensor:
    """Each frame minus the one before, frame 0 minus the last, as IIC has it; rescaled: (x_t - x_{t-1} + 1) / 2."""
    difference = clip_NCTHW - clip_NCTHW.roll(1, dims=2)
    return (difference + 1) / 2 if rescale else difference


class Normalise(nn.Module):
    """`uint8 [N,T,H,W,3] -> float32 [N,3,T,H,W]` for clips of `view`.

    Flow is normalised like RGB, as published weights expect; `normalise = "none"` leaves x / 255 as it is (IIC).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        mean, std = statistics(view)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(self, clip_NTHWC: Tensor) -> Tensor:
        """The network's input; its memory is N,T,H,W,C for views that are the clip itself."""
        if not isinstance(self._view, FlowComponent | Residual):
            return self._whole_rows(clip_NTHWC)
        if isinstance(self._view, FlowComponent):
            channel = CHANNEL[self._view.axis]
            clip_NTHWC = clip_NTHWC[..., channel : channel + 1].expand_as(clip_NTHWC)
        clip = clip_NTHWC.permute(0, 4, 1, 2, 3).float() / 255
        if isinstance(self._view, Residual):
            clip = residual(clip, self._view.rescale)
        return (clip - self.mean) / self.std

    def _whole_rows(self, clip_NTHWC: Tensor) -> Tensor:
        """The same numbers, in place and with statistics as long as a row of pixels: three channels alone do not vectorise."""
        width = clip_NTHWC.shape[3]
        mean_R, std_R = (each.flatten().repeat(width) for each in (self.mean, self.std))
        clip_NTHR = clip_NTHWC.to(torch.float32, memory_format=torch.contiguous_format).flatten(3).div_(255)
        if self.mean.dtype != clip_NTHR.dtype:
            clip_NTHR = clip_NTHR.to(self.mean.dtype)
        clip: Tensor = clip_NTHR.sub_(mean_R).div_(std_R).unflatten(3, (width, 3)).permute(0, 4, 1, 2, 3)
        return clip
