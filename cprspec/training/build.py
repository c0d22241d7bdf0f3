"""From a resolved phase to its MoCo, and the weights it starts from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import frozen

from cprspec.learning.moco import MoCo
from cprspec.models.encoders import Weights, build_encoder, fill, moco_options
from cprspec.spec.kinds import View
from cprspec.spec.schema import Phase
from cprspec.video.normalise import Normalise


@frozen
class Start:
    """The weights a phase begins with: of the trained encoder (None: fresh ones) and of the mining view's sampler."""

    encoder: Weights | None
    sampler: Weights | None


def build_moco(phase: Phase, sampler_phase: Phase | None, views: Mapping[str, View], start: Start) -> MoCo:
    """The phase's model on the CPU, started from `start`; `sampler_phase` is the one whose encoder mines."""
    options = moco_options(phase)
    encoder = build_encoder(phase)
    if start.encoder is not None:
        fill(encoder, start.encoder, f"start of phase '{phase.name}'", phase.start_from)
    sampler = None
    mining_input = None
    mining_embedding = None
    if sampler_phase is not None:
        assert start.sampler is not None
        sampler = build_encoder(sampler_phase)
        fill(sampler, start.sampler, f"sampler of phase '{phase.name}'", None)
        mining_input = Normalise(views[sampler_phase.views[0]])
        mining_embedding = moco_options(sampler_phase).embedding
    generator = torch.Generator().manual_seed(phase.seed)
    return MoCo(
        encoder,
        sampler=sampler,
        mining_embedding=mining_embedding,
        miner=phase.miner.at(0).build() if phase.miner else None,
        queue_size=options.queue_size,
        embedding=options.embedding,
        temperature=options.temperature,
        momentum=options.momentum,
        bn_groups=options.bn_groups,
        loss=options.loss,
        siblings=options.siblings,
        to_input=Normalise(views[phase.views[0]]),
        mining_input=mining_input,
        autocast=torch.bfloat16 if phase.precision == "bf16" else None,
        generator=generator,
    )
