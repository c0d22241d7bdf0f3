"""What a framework does within an optimiser step, behind one interface: the loop knows no framework.

The loop calls `begin` once, `forward` for each micro-batch (and the backward pass of the loss it returns), `picks`,
`finish` and `numbers`. Adapters: moco_stepper.py, iic_stepper.py; build.py chooses.

Legend: N clips of a micro-batch on this rank, P picks of a clip, S stages of the miner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from attrs import frozen
from torch import Tensor, nn

from cprspec.learning.cascade import Mined
from cprspec.learning.moco import MinerLike
from cprspec.models.heads import Encoder
from cprspec.video.sampling import generator

PERMUTATION, COIN, PICKS, NEGATIVES, INTRA = 101, 102, 103, 104, 105
"""Streams of random numbers beside those of sampling and augmentation."""

Batch = dict[str, Tensor]


@frozen(kw_only=True)
class Picks:
    """What one micro-batch of this rank mined: `selected_NP` (video ids, -1: none) for `video_N`.

    `mined` is the same as bank rows, with each stage's survivors. `counts` `[S+1,3]` are those of mining/funnel.py.
    `direction` names what was mined for, where a framework mines more than once for the same clip; see `Stepper.directions`.
    """

    video_N: Tensor
    selected_NP: Tensor
    counts: Tensor
    mined: Mined
    direction: str = ""


class Stepper(Protocol):
    """A framework in training.

    `module` holds all that an exact resume needs, and is what ranks share the gradients of; `encoder`, inside it, is what
    the phase trains and ends with. `not_saved`: beginnings of names in the module's state that a checkpoint leaves out.
    `directions`: each thing that is mined for, with the view that mines; empty where there is one thing only.
    `replay`: the framework's name and whatever else replaying its bank takes (mining/replay.py).
    """

    module: nn.Module
    encoder: Encoder
    not_saved: tuple[str, ...]
    directions: Mapping[str, str]
    replay: Mapping[str, Any]

    def use_miner(self, miner: MinerLike) -> None:
        """Mine with `miner` from now on, instead of the one the phase began with."""
        ...

    def begin(self, epoch: int, step: int) -> bool:
        """Begin optimiser step `step` of `epoch`; whether it only warms up, without gradients and without an update."""
        ...

    def forward(self, parallel: nn.Module, batch: Batch, micro: int) -> Tensor:
        """The loss of micro-batch number `micro`; `parallel` is the module, or what shares its gradients."""
        ...

    def picks(self) -> Iterator[Picks]:
        """What was mined in this step, micro-batch by micro-batch; to be taken before `finish`."""
        ...

    def bank(self) -> dict[str, Tensor]:
        """What miners look at, as it is before `finish`, by name; rows are the same on every rank."""
        ...

    def embedded(self) -> Iterator[dict[str, Tensor]]:
        """What each micro-batch of this rank brings to miners and bank, by name: `video_M` `[N]`, embeddings `[N,D]`."""
        ...

    def finish(self) -> None:
        """Write the step's clips into the bank, after every backward pass."""
        ...

    def numbers(self) -> Tensor:
        """To log, `[3]`: loss, share of clips whose own key has the highest logit, spread of the embeddings."""
        ...


def picks_generator(seed: int, place: tuple[int, ...], device: torch.device) -> torch.Generator:
    """The generator of miners that choose at random; `place` is (epoch, step, micro-batch, rank, ...)."""
    drawn = generator(seed, PICKS, *place).integers(2**62)
    return torch.Generator(device=device).manual_seed(int(drawn))
