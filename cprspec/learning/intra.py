"""Intra-negatives: a clip that shows the same things without their motion, for IIC to tell from the clip itself.

Source: Tao et al., "Self-supervised Video Representation Learning Using Inter-intra Contrastive Framework" (ACM MM 2020),
section 3.2. Pure functions of a clip and what was drawn for it.

Shapes: N clips, C T H W channels, frames, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUARTERS = 4
"""Parts into which a clip is cut for shuffling."""


def repeat_frame(clip_NCTHW: Tensor, frame_N: Tensor) -> Tensor:
    """Each clip with its frame `frame_N` in place of every frame."""
    rows_N = torch.arange(len(clip_NCTHW), device=clip_NCTHW.device)
    return clip_NCTHW[rows_N, :, frame_N].unsqueeze(2).expand_as(clip_NCTHW)


def swap_quarters(clip_NCTHW: Tensor, swap_N2: Tensor) -> Tensor:
    """Each clip with its two quarters `swap_N2` (0 to 3) exchanged; T is a multiple of 4."""
    n, frames = clip_NCTHW.shape[0], clip_NCTHW.shape[2]
    if frames % QUARTERS:
        raise ValueError(f"a clip of {frames} frames has no four equal quarters")
    order_N4 = torch.arange(QUARTERS, device=clip_NCTHW.device).repeat(n, 1)
    order_N4.scatter_(1, swap_N2, swap_N2.flip(1))
    quarter = frames // QUARTERS
    within = torch.arange(quarter, device=clip_NCTHW.device)
    frame_NT = (order_N4[:, :, None] * quarter + within).flatten(1)
    rows_N1 = torch.arange(n, device=clip_NCTHW.device)[:, None]
    return clip_NCTHW.transpose(1, 2)[rows_N1, frame_NT].transpose(1, 2)
