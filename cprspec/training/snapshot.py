"""A phase in mid-training to a checkpoint and back: modules, optimiser, ledger and place, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from attrs import asdict, evolve

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.learning.optimizer_state import optimizer_tensors, restore_optimizer
from cprspec.models.encoders import differences, fill
from cprspec.runs import events
from cprspec.runs.files import finite
from cprspec.spec.schema import WeightsFile
from cprspec.training import checkpoint
from cprspec.training.environment import version_differences, versions
from cprspec.training.job import Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.recorder import Recorder
from cprspec.training.stepper import Stepper
from cprspec.training.writer import CheckpointWriter

_OTHER_VERSION = "another version of cprspec wrote it, or it was changed: go on with the version in environment.json"


def save(
    writer: CheckpointWriter,
    job: Job,
    stepper: Stepper,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    recorder: Recorder,
    tally: Tally,
    figures: Mapping[str, float | None],
) -> Path:
    """Let rank 0 write a checkpoint; every rank returns its folder. `figures`: of the epoch that ended, if one did."""
    if not job.ranks.first:
        return job.checkpoints / f"step-{job.global_step(tally):06d}"
    job.report.sync()
    whole = stepper.module.state_dict()
    state = {f"model.{k}": v for k, v in whole.items() if not k.startswith(stepper.not_saved)}
    state |= {f"ledger.{k}": torch.from_numpy(v) for k, v in ledger.state().items()}
    state |= {f"replay.{k}": v for k, v in recorder.state().items()}
    state |= optimizer_tensors(stepper.encoder, optimizer)
    meta = {"phase": job.phase.name, "tally": asdict(tally), "world_size": job.ranks.world}
    meta |= {"fingerprint": job.fingerprint, "threads": torch.get_num_threads(), "versions": versions()}
    meta |= {"figures": finite(dict(figures))}
    return writer.put(tally, stepper.encoder.state_dict(), state, meta)


def resume(
    job: Job, stepper: Stepper, optimizer: torch.optim.Optimizer, ledger: Ledger, recorder: Recorder
) -> tuple[Tally, Path | None]:
    """Put the newest checkpoint into the modules, if there is one, and say where to go on.

    CprspecError where it is damaged, unless the job may fall back on an earlier one; or made of something else.
    """
    found, bad = checkpoint.newest(job.checkpoints)
    way_on = f"{found.folder.name}, an earlier one" if found else "the beginning of the phase"
    if bad and not job.allowed.fallback:
        *others, last = bad
        hint = f"--fallback goes on from {way_on}" + (f" ({last.hint})" if last.hint else "")
        raise CprspecError([*others, evolve(last, hint=hint)])
    for problem in bad:
        message = f"{problem}: going on from {way_on}; damaged ones are kept as damaged-step-NNNNNN"
        job.report(events.Warned(message=message))
    tally = Tally() if found is None else restore(job, found, stepper, optimizer, ledger, recorder)
    if bad and job.ranks.first:
        checkpoint.set_aside(job.checkpoints, found)
    if found is None:
        return tally, None
    if tally.epoch < job.phase.epochs:
        job.report(events.Resumed(attempt=job.report.attempt, phase=job.phase.name, from_step=job.global_step(tally)))
    return tally, found.folder


def restore(
    job: Job,
    found: checkpoint.Checkpoint,
    stepper: Stepper,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    recorder: Recorder,
) -> Tally:
    """Put a checkpoint into the modules and give its tally. CprspecError where it was made of something else."""
    tally = read_tally(found)
    if found.meta.get("fingerprint") != job.fingerprint:
        message = (
            f"phase '{job.phase.name}' of this run was trained with other options, or the videos have changed since"
        )
        raise CprspecError(Problem(message, Place(str(found.folder)), "run the experiment's file again, as a new run"))
    check_same_setting(job, found)
    fill(stepper.encoder, found.weights, f"phase '{job.phase.name}'", WeightsFile(found.folder / checkpoint.WEIGHTS))
    own = {k.removeprefix("model."): v for k, v in found.state.items() if k.startswith("model.")}
    if listed := differences(stepper.module.state_dict(), own, stepper.not_saved):
        place = Place(str(found.folder / checkpoint.STATE))
        raise CprspecError(Problem(f"state does not fit phase '{job.phase.name}': {listed}", place, _OTHER_VERSION))
    stepper.module.load_state_dict(own, strict=False)
    restore_optimizer(stepper.encoder, optimizer, found.state)
    ledger.restore({k.removeprefix("ledger."): v.numpy() for k, v in found.state.items() if k.startswith("ledger.")})
    own = {k.removeprefix("replay."): v for k, v in found.state.items() if k.startswith("replay.")}
    recorder.restore(own, tally.step)
    return tally


def check_same_setting(job: Job, found: checkpoint.Checkpoint) -> None:
    """Warn of what makes going on inexact. CprspecError for another number of processes, unless the job allows it."""
    then, was, now = found.meta.get("versions"), found.meta.get("world_size"), job.ranks.world
    if not isinstance(then, dict):
        raise _unusable(found, "versions", then, "an object")
    if not _is_count(was):
        raise _unusable(found, "world_size", was, "a whole number")
    if was != now and not job.allowed.world_size_change:
        hint = f"continue it with --nproc {was}, or with --allow-world-size-change, which gives up exactness"
        raise CprspecError(
            Problem(f"run was made by {was} processes and {now} would not continue it exactly", hint=hint)
        )
    if was != now:
        message = (
            f"processes {was} then, {now} now: every step sees the same videos; sums over ranks are rounded otherwise, the "
            "running statistics of batch norm are those of another share of the batch, and a miner that draws draws others"
        )
        job.report(events.Warned(message=f"phase '{job.phase.name}' does not go on exactly: {message}"))
    threads = found.meta.get("threads")
    others = version_differences(then)
    if threads != torch.get_num_threads():
        others.append(f"threads {threads} then, {torch.get_num_threads()} now")
    if others:
        message = f"phase '{job.phase.name}' does not go on bit for bit: {', '.join(others)}"
        job.report(events.Warned(message=message))


def read_tally(found: checkpoint.Checkpoint) -> Tally:
    """Where training stood. CprspecError, with file and key, where another version wrote it or a hand changed it."""
    schema, facts = found.meta.get("schema"), found.meta.get("tally")
    if schema != checkpoint.SCHEMA:
        raise _unusable(found, "schema", schema, checkpoint.SCHEMA)
    if not isinstance(facts, dict):
        raise _unusable(found, "tally", facts, "an object")
    for key, default in asdict(Tally()).items():
        value = facts.get(key, None if key in ("epoch", "step") else default)
        if isinstance(default, list):
            fits, expected = isinstance(value, list) and all(_is_count(item) for item in value), "whole numbers"
        elif isinstance(default, float):
            fits, expected = isinstance(value, float) or _is_count(value), "a number"
        else:
            fits, expected = _is_count(value), "a whole number"
        if not fits:
            raise _unusable(found, f"tally.{key}", value, expected)
    if strange := facts.keys() - asdict(Tally()).keys():
        raise _unusable(found, f"tally.{min(strange)}", facts[min(strange)], "no such key")
    return Tally(**facts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unusable(found: checkpoint.Checkpoint, key: str, value: object, expected: object) -> CprspecError:
    text = clean(f"key {key} is {value!r} where {expected} is expected", MAX_ECHO)
    return CprspecError(Problem(text, Place(str(found.folder / checkpoint.META)), _OTHER_VERSION))
