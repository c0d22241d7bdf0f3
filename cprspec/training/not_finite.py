"""What is not finite ends the run before it lasts, and says which clips made it.

A loss or a gradient ends it before it reaches the weights. An update that overflows is only seen in the next step's loss,
so that what a checkpoint would hold is looked at, too, before it is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from attrs import frozen

from cprspec.errors import CprspecError, Problem
from cprspec.learning.exchange import gather_cat
from cprspec.learning.optimizer_state import optimizer_tensors
from cprspec.models.heads import Encoder
from cprspec.runs.files import atomic_write_json
from cprspec.training.job import Job
from cprspec.training.stepper import Stepper


@frozen
class Made:
    """A step that may have to be named: where in the phase, its loss, and the videos of this rank's clips."""

    epoch: int
    step: int
    loss: float
    video_N: torch.Tensor


def gradients_finite(encoder: torch.nn.Module) -> torch.Tensor:
    """Whether every gradient of `encoder` is finite, `[1]` on its device, 1 or 0: to be read with what else is read."""
    gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
    if not gradients:  # no update is made
        return next(encoder.parameters()).new_ones(1)
    return torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all()[None].to(gradients[0].dtype)


def broken_gradients(encoder: torch.nn.Module) -> list[str]:
    """The names of the parameters whose gradient is not finite everywhere."""
    named = [(name, p.grad) for name, p in encoder.named_parameters() if p.grad is not None]
    return [name for name, gradient in named if not bool(torch.isfinite(gradient).all())] or ["their norm"]


def stop_before_update(job: Job, made: Made, broken: list[str]) -> None:
    """A loss or gradient that is not finite ends the run before it reaches the weights; the batch's clips go into a file."""
    finite = math.isfinite(made.loss)
    what = f"{len(broken)} gradients are not finite, first {broken[0]}" if finite else f"loss {made.loss} is not finite"
    _stop(job, made, f"{what}; weights were not updated", gradients=broken)


def stop_before_save(job: Job, stepper: Stepper, optimizer: torch.optim.Optimizer, made: Made) -> None:
    """If the last step `made` anything that is not finite, end the run before that is saved; every rank must come here."""
    # Of the networks and the optimiser: a bank may hold what is not a number until it is first filled.
    networks = [(name, part) for name, part in stepper.module.named_modules() if isinstance(part, Encoder)]
    tensors = {f"{name}.{key}": tensor for name, part in networks for key, tensor in part.state_dict().items()}
    broken = [*not_finite(tensors | optimizer_tensors(stepper.encoder, optimizer))]
    if job.ranks.any(bool(broken)):
        broken = broken or ["those of another rank"]
        what = f"the update made {len(broken)} tensors that are not finite, first {broken[0]}"
        _stop(job, made, f"{what}; they were not saved", state=broken)


def not_finite(tensors: dict[str, torch.Tensor]) -> Iterator[str]:
    """The names of those that are not finite everywhere; where all are, the device is waited for once."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    devices = {tensor.device for tensor in floating.values()}
    for device in devices:
        own = [(name, tensor) for name, tensor in floating.items() if tensor.device == device]
        finite = torch.stack([torch.isfinite(tensor).all() for _, tensor in own]).tolist()
        yield from (name for (name, _), each in zip(own, finite, strict=True) if not each)


def _stop(job: Job, made: Made, what: str, *, gradients: Sequence[str] = (), state: Sequence[str] = ()) -> None:
    ids = gather_cat(made.video_N.to(job.ranks.device)).tolist()
    path = job.folder / f"non-finite-step-{made.step:06d}.json"
    if job.ranks.first:
        videos = [{"video": v, "name": job.index.videos[v].name} for v in ids]
        facts = {
            "schema": 1, "kind": "non-finite", "phase": job.phase.name, "epoch": made.epoch, "step": made.step,
            "loss": repr(made.loss), "gradients": [*gradients], "state": [*state], "videos": videos,
        }  # fmt: skip
        atomic_write_json(path, facts)
    where = f"phase '{job.phase.name}', epoch {made.epoch}, step {made.step}"
    hint = (
        f"as it is the run ends here again: lower the learning rate or set precision = 'float32'; the {len(ids)} clips of "
        f"the batch are in {path}"
    )
    raise CprspecError(Problem(f"{where}: {what}", hint=hint), exit_code=1)
