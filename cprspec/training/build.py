"""From a resolved phase to its framework in training, and the weights it starts from."""

from __future__ import annotations

import torch
from attrs import frozen

from cprspec.components import frameworks
from cprspec.errors import CprspecError
from cprspec.learning.iic import IIC
from cprspec.learning.moco import MoCo
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.models.frozen import freeze
from cprspec.models.heads import Encoder
from cprspec.spec.schema import Phase
from cprspec.training.iic_stepper import IICStepper
from cprspec.training.job import Job
from cprspec.training.moco_stepper import MoCoStepper
from cprspec.training.stepper import Stepper
from cprspec.video.normalise import Normalise


@frozen
class Start:
    """The weights a phase begins with: of the trained encoder (None: fresh ones) and of the mining view's sampler."""

    encoder: Weights | None
    sampler: Weights | None


def build_stepper(job: Job, sampler_phase: Phase | None, start: Start) -> Stepper:
    """The phase's framework on the CPU, started from `start`; `sampler_phase` is the one whose encoder mines."""
    match job.phase.framework:
        case frameworks.MoCo() as moco:
            return MoCoStepper(job, moco, build_moco(job, moco, sampler_phase, start))
        case frameworks.IIC() as iic:
            return IICStepper(job, iic, build_iic(job, iic, start))
    raise CprspecError(f"phase '{job.phase.name}': framework '{job.phase.framework.name}' cannot be trained")


def build_moco(job: Job, options: frameworks.MoCo, sampler_phase: Phase | None, start: Start) -> MoCo:
    """MoCo over a started encoder, with the encoder of `sampler_phase` frozen beside it."""
    phase = job.phase
    sampler = None
    mining_input = None
    if sampler_phase is not None:
        assert start.sampler is not None
        sampler = build_encoder(sampler_phase)
        fill(sampler, start.sampler, f"sampler of phase '{phase.name}'", None)
        sampler = freeze(sampler, phase.precision)
        mining_input = Normalise(job.views[sampler_phase.views[0]])
    return MoCo(
        started_encoder(phase, start),
        sampler=sampler,
        mining_embedding=sampler.embedding if sampler is not None else None,
        miner=phase.miner.at(0).build() if phase.miner else None,
        queue_size=options.queue_size,
        embedding=options.embedding,
        temperature=options.temperature,
        momentum=options.momentum,
        bn_groups=options.bn_groups,
        loss=options.loss,
        siblings=options.siblings,
        to_input=Normalise(job.views[phase.views[0]]),
        mining_input=mining_input,
        autocast=torch.bfloat16 if phase.precision == "bf16" else None,
        generator=torch.Generator().manual_seed(phase.seed),
    )


def build_iic(job: Job, options: frameworks.IIC, start: Start) -> IIC:
    """IIC over a started encoder, with a bank row for each training video."""
    phase = job.phase
    first, second = (Normalise(job.views[view]) for view in phase.views)
    encoder = started_encoder(phase, start)
    return IIC(
        encoder,
        source_V=torch.from_numpy(job.index.source_ids[job.index.ids("train")]),
        embedding=encoder.embedding,
        temperature=options.temperature,
        momentum=options.momentum,
        intra_negative=options.intra_negative,
        loss=options.loss,
        miner=phase.miner.at(0).build() if phase.miner else None,
        bn_groups=options.bn_groups,
        to_input=(first, second),
        autocast=torch.bfloat16 if phase.precision == "bf16" else None,
        generator=torch.Generator().manual_seed(phase.seed),
    )


def started_encoder(phase: Phase, start: Start) -> Encoder:
    """The phase's encoder with its first weights."""
    encoder = build_encoder(phase)
    if start.encoder is not None:
        fill(encoder, start.encoder, f"start of phase '{phase.name}'", phase.start_from)
    return encoder
