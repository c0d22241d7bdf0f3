"""A phase in mid-training to a checkpoint and back: modules, optimiser, ledger and place, exactly."""

from __future__ import annotations

from pathlib import Path

import torch
from attrs import asdict

from cprspec.errors import CprspecError, Place, Problem
from cprspec.runs import events
from cprspec.training import checkpoint
from cprspec.training.job import Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.recorder import Recorder
from cprspec.training.stepper import Stepper


def save(
    job: Job, stepper: Stepper, optimizer: torch.optim.Optimizer, ledger: Ledger, recorder: Recorder, tally: Tally
) -> Path:
    """Write a checkpoint on rank 0; every rank returns its folder."""
    step = job.global_step(tally)
    if job.ranks.first:
        job.report.sync()
        whole = stepper.module.state_dict()
        state = {f"model.{k}": v for k, v in whole.items() if not k.startswith(stepper.not_saved)}
        state |= {f"ledger.{k}": torch.from_numpy(v) for k, v in ledger.state().items()}
        state |= {f"replay.{k}": v for k, v in recorder.state().items()}
        state |= _optimizer_tensors(stepper, optimizer)
        meta = {"phase": job.phase.name, "tally": asdict(tally), "world_size": job.ranks.world}
        meta["fingerprint"] = job.fingerprint
        meta["threads"] = torch.get_num_threads()
        checkpoint.save(job.checkpoints, step, stepper.encoder.state_dict(), state, meta)
        checkpoint.keep_last(job.checkpoints, 2)
    return job.checkpoints / f"step-{step:06d}"


def resume(
    job: Job, stepper: Stepper, optimizer: torch.optim.Optimizer, ledger: Ledger, recorder: Recorder
) -> tuple[Tally, Path | None]:
    """Put the newest good checkpoint into the modules, if there is one, and say where to go on."""
    found, bad = checkpoint.newest(job.checkpoints)
    for problem in bad:
        job.report(events.Warned(message=str(problem)))
    if found is None:
        return Tally(), None
    if found.meta["fingerprint"] != job.fingerprint:
        message = (
            f"phase '{job.phase.name}' of this run was trained with other options, or the videos have changed since"
        )
        raise CprspecError(Problem(message, Place(str(found.folder)), "run the experiment's file again, as a new run"))
    if found.meta["world_size"] != job.ranks.world:
        was, now = found.meta["world_size"], job.ranks.world
        hint = f"continue it with --nproc {was}, or run the experiment's file again, as a new run"
        raise CprspecError(
            Problem(f"run was made by {was} processes and {now} would not continue it exactly", hint=hint)
        )
    stepper.encoder.load_state_dict(found.weights)
    own = {k.removeprefix("model."): v for k, v in found.state.items() if k.startswith("model.")}
    stepper.module.load_state_dict(own, strict=False)
    _restore_optimizer(stepper, optimizer, found.state)
    ledger.restore({k.removeprefix("ledger."): v.numpy() for k, v in found.state.items() if k.startswith("ledger.")})
    tally = Tally(**found.meta["tally"])
    own = {k.removeprefix("replay."): v for k, v in found.state.items() if k.startswith("replay.")}
    recorder.restore(own, tally.step)
    if tally.epoch < job.phase.epochs:
        job.report(events.Resumed(attempt=job.report.attempt, phase=job.phase.name, from_step=job.global_step(tally)))
    return tally, found.folder


def _optimizer_tensors(stepper: Stepper, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"optimizer.{name}|{key}": torch.as_tensor(value)
        for name, parameter in stepper.encoder.named_parameters()
        for key, value in optimizer.state[parameter].items()
        if value is not None
    }


def _restore_optimizer(stepper: Stepper, optimizer: torch.optim.Optimizer, state: dict[str, torch.Tensor]) -> None:
    for name, parameter in stepper.encoder.named_parameters():
        prefix = f"optimizer.{name}|"
        slots = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if slots:
            # Adam keeps its step count on the CPU and its moments where the parameter is.
            optimizer.state[parameter] = {k: v if v.ndim == 0 else v.to(parameter.device) for k, v in slots.items()}
