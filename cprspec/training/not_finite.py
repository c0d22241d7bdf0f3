"""A loss or a gradient that is not finite ends the run before it reaches the weights, and says which clips made it."""

from __future__ import annotations

import math

import torch

from cprspec.errors import CprspecError, Problem
from cprspec.learning.exchange import gather_cat
from cprspec.runs.files import atomic_write_json
from cprspec.training.job import Job, Tally


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


def stop_before_update(job: Job, tally: Tally, loss: float, video_N: torch.Tensor, broken: list[str]) -> None:
    """A loss or gradient that is not finite ends the run before it reaches the weights; the batch's clips go into a file."""
    step = job.global_step(tally)
    ids = gather_cat(video_N).tolist()
    path = job.folder / f"non-finite-step-{step:06d}.json"
    if job.ranks.first:
        videos = [{"video": v, "name": job.index.videos[v].name} for v in ids]
        facts = {
            "schema": 1, "kind": "non-finite", "phase": job.phase.name, "epoch": tally.epoch, "step": step,
            "loss": repr(loss), "gradients": broken, "videos": videos,
        }  # fmt: skip
        atomic_write_json(path, facts)
    finite = math.isfinite(loss)
    what = f"{len(broken)} gradients are not finite, first {broken[0]}" if finite else f"loss {loss} is not finite"
    where = f"phase '{job.phase.name}', epoch {tally.epoch}, step {step}"
    hint = (
        f"as it is the run ends here again: lower the learning rate or set precision = 'float32'; the {len(ids)} clips of "
        f"the batch are in {path}"
    )
    raise CprspecError(Problem(f"{where}: {what}; weights were not updated", hint=hint), exit_code=1)
