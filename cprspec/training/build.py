"""From a resolved phase to its framework in training, and the weights it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import frozen
from torch import nn

from cprspec.components import frameworks
from cprspec.errors import CprspecError
from cprspec.learning.iic import IIC
from cprspec.learning.moco import MoCo
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.models.frozen import freeze
from cprspec.models.heads import Encoder
from cprspec.spec.kinds import View
from cprspec.spec.schema import Phase
from cprspec.training.iic_stepper import IICStepper
from cprspec.training.job import Job
from cprspec.training.moco_stepper import MoCoStepper
from cprspec.training.stepper import Stepper
from cprspec.video.normalise import Normalise

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
"""What is kept in a precision."""


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
    phase, sampler = job.phase, None
    if sampler_phase is not None:
        assert start.sampler is not None
        sampler = build_encoder(sampler_phase)
        fill(sampler, start.sampler, f"sampler of phase '{phase.name}'", None)
        sampler = freeze(sampler, phase.precision)
    encoder = started_encoder(phase, start)
    more = {"bn_groups": options.bn_groups, "mining_embedding": sampler.embedding if sampler is not None else None}
    return moco_of(phase, options, job.views, encoder, sampler_phase, sampler, **more, **_how(phase))


def moco_of(
    phase: Phase,
    options: frameworks.MoCo,
    views: Mapping[str, View],
    encoder: nn.Module,
    sampler_phase: Phase | None,
    sampler: nn.Module | None,
    **how: Any,
) -> MoCo:
    """MoCo with the options of `phase`, over networks that are there; `how`: the arguments that are no option of it."""
    return MoCo(
        encoder,
        sampler=sampler,
        queue_size=options.queue_size,
        embedding=options.embedding,
        temperature=options.temperature,
        momentum=options.momentum,
        loss=options.loss,
        siblings=options.siblings,
        bank_dtype=DTYPES[options.bank_precision],
        to_input=Normalise(views[phase.views[0]]),
        mining_input=Normalise(views[sampler_phase.views[0]]) if sampler_phase is not None else None,
        **how,
    )


def build_iic(job: Job, options: frameworks.IIC, start: Start) -> IIC:
    """IIC over a started encoder, with a bank row for each training video."""
    phase, source_V = job.phase, torch.from_numpy(job.index.source_ids[job.index.ids("train")])
    encoder = started_encoder(phase, start)
    more = {"embedding": encoder.embedding, "source_V": source_V, "loss": options.loss, "bn_groups": options.bn_groups}
    return iic_of(phase, options, job.views, encoder, **more, **_how(phase))


def iic_of(phase: Phase, options: frameworks.IIC, views: Mapping[str, View], encoder: nn.Module, **how: Any) -> IIC:
    """IIC with the options of `phase`, over a network that is there; `how`: the arguments that are no option of it."""
    first, second = (Normalise(views[view]) for view in phase.views)
    return IIC(
        encoder,
        temperature=options.temperature,
        momentum=options.momentum,
        intra_negative=options.intra_negative,
        bank_dtype=DTYPES[options.bank_precision],
        to_input=(first, second),
        **how,
    )


def _how(phase: Phase) -> dict[str, Any]:
    """Miner, precision and the random numbers that the bank begins with."""
    return {
        "miner": phase.miner.at(0).build() if phase.miner else None,
        "autocast": torch.bfloat16 if phase.precision == "bf16" else None,
        "generator": torch.Generator().manual_seed(phase.seed),
    }


def started_encoder(phase: Phase, start: Start) -> Encoder:
    """The phase's encoder with its first weights."""
    encoder = build_encoder(phase)
    if start.encoder is not None:
        fill(encoder, start.encoder, f"start of phase '{phase.name}'", phase.start_from)
    return encoder
