"""How a network's convolutions are computed on this machine: in two dimensions or in three (models/separable.py)."""

from __future__ import annotations

import torch
from torch import nn

from cprspec.learning.ranks import Ranks
from cprspec.models.separable import use_whole, whole_is_faster
from cprspec.spec.schema import Clip


def choose_convolutions(
    network: nn.Module,
    wanted: str,
    backbone: nn.Module,
    clip: Clip,
    clips: int,
    ranks: Ranks,
    *,
    autocast: torch.dtype | None = None,
    learning: bool = True,
) -> None:
    """Set it for every convolution of `network`, the same on every rank, as `wanted` (`launch.convolutions`) says.

    Where that is `auto` and the device no CPU, `backbone` is measured on `clips` clips: `learning` with the backward pass.
    """
    whole = wanted == "whole"
    if wanted == "auto" and ranks.device.type != "cpu":
        noise = torch.Generator(ranks.device).manual_seed(0)
        shape = (clips, 3, clip.frames, clip.size, clip.size)
        dtype = next(backbone.parameters()).dtype
        clip_NCTHW = torch.randn(shape, device=ranks.device, generator=noise).to(dtype)
        whole = ranks.any(whole_is_faster(backbone, clip_NCTHW, autocast, learning=learning))
    use_whole(network, whole)
