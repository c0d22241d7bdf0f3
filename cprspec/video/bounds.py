"""Choosing the largest motion that a store's flow keeps: 256 levels for all, so a wide bound makes every step coarse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from attrs import frozen

from cprspec.video.flow import FlowMethod
from cprspec.video.opening import BadVideo
from cprspec.video.preparing import pictures

BOUNDS = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0)
"""Pixels per frame."""

BEYOND = 0.002
"""Share of the pixels that may move further than the bound, and are taken to move that far."""

VIDEOS, MOST, EVERY = 24, 600, 12
"""How many videos are looked at, how many frames of each at most, and how many frames from one pair of pictures to the next."""


@frozen
class Chosen:
    """The bound, and the share of pixels, of `pairs` pairs of pictures, that move further."""

    bound: float
    beyond: float
    pairs: int


def choose_bound(paths: Sequence[Path], short_side: int) -> Chosen:
    """The smallest of BOUNDS beyond which at most a share BEYOND of the pixels move, by DIS, in videos evenly spaced.

    The same for the same videos, so that those who share the work agree. Videos that cannot be read are passed over.
    """
    beyond, pixels, pairs = np.zeros(len(BOUNDS)), 0, 0
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(VIDEOS, len(paths)), dtype=np.int64))
    for path in (paths[i] for i in chosen):
        method = FlowMethod("dis")
        try:
            for number, (a, b) in enumerate(pairwise(islice(pictures(path, short_side), MOST))):
                if number % EVERY == 0:
                    reach = np.abs(method.between(a, b)).max(-1)
                    beyond += [(reach > bound).sum() for bound in BOUNDS]
                    pixels, pairs = pixels + reach.size, pairs + 1
        except BadVideo:
            continue
    share = beyond / max(1, pixels)
    best = next((i for i, s in enumerate(share) if s <= BEYOND), len(BOUNDS) - 1)
    return Chosen(BOUNDS[best], float(share[best]), pairs)
