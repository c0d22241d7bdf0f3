"""Training one phase, from its first step or from a checkpoint to its last: read top to bottom.

What a framework does within a step is behind `Stepper`. One optimiser step is: `accumulate` micro-batches forward and
backward, what was mined into the ledger, the bank, the update. Sample order, augmentation and every draw are pure
functions of (seed, epoch, step), so a resumed phase continues exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from cprspec.errors import CprspecError, Problem
from cprspec.learning.exchange import gather_cat
from cprspec.learning.gradients import share_gradients
from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.runs.ranks import SAVE, STEP, WAIT
from cprspec.training.job import Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.recorder import Recorder
from cprspec.training.report import rss_gib
from cprspec.training.signals import Stopped, asked_to_stop
from cprspec.training.snapshot import resume, save
from cprspec.training.stepper import Batch, Stepper
from cprspec.training.writer import writing
from cprspec.video.clips import PhaseOrder, train_loader


def train_phase(job: Job, stepper: Stepper) -> Path:
    """Train to the last epoch and return the last checkpoint's folder. Raises `Stopped`, `CprspecError`."""
    phase = job.phase
    stepper.module.to(job.ranks.device).train()
    optimizer = phase.optimizer.build(stepper.encoder.parameters())
    ledger = make_ledger(job, stepper)
    recorder = Recorder(job, stepper)
    tally, last = resume(job, stepper, optimizer, ledger, recorder)
    parallel = share_gradients(stepper.module) if job.ranks.world > 1 else stepper.module
    batches = awaited(job, make_loader(job, tally))
    saved = time.monotonic()
    miner = phase.miner.at(0) if phase.miner else None
    with writing(job) as writer:
        while tally.epoch < phase.epochs:
            job.alive.place(phase.name, tally.epoch, job.global_step(tally))
            job.suffer("step", tally)
            for group in optimizer.param_groups:
                group["lr"] = phase.optimizer.lr * phase.schedule.factor(tally.epoch, phase.epochs)
            if phase.miner and (now := phase.miner.at(tally.epoch)) != miner:
                miner = now
                stepper.use_miner(now.build())
            train_step(job, stepper, parallel, optimizer, ledger, recorder, batches, tally)
            tally.step += 1
            figures: Mapping[str, float | None] = {}
            epoch_over = tally.step == job.steps_per_epoch
            if epoch_over:
                figures = finish_epoch(job, ledger, tally)
                recorder.finish(tally.epoch)
                tally = Tally(epoch=tally.epoch + 1)
            overdue = job.ranks.any(time.monotonic() - saved > 60 * job.launch.checkpoint_minutes)
            stop = asked_to_stop(job.stop, job.stop_file, job.ranks)
            if epoch_over or overdue or stop:
                job.alive.at(SAVE)
                last = save(writer, job, stepper, optimizer, ledger, recorder, tally, figures)
                saved = time.monotonic()
            if stop and tally.epoch < phase.epochs:
                writer.flush()
                raise Stopped(stop, job.global_step(tally))
    assert last is not None
    return last


def make_ledger(job: Job, stepper: Stepper) -> Ledger:
    """The phase's ledger, empty."""
    return Ledger(
        job.index.labels,
        job.index.source_ids,
        job.index.ids("train"),
        classes=job.index.classes,
        names=[video.name for video in job.index.videos],
        phase=job.phase.name,
        dataset=job.phase.dataset,
        directions=stepper.directions,
    )


def train_step(
    job: Job,
    stepper: Stepper,
    parallel: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    recorder: Recorder,
    batches: Iterator[Batch],
    tally: Tally,
) -> None:
    """One optimiser step: every micro-batch of the global batch, then the bank and, past warm-up, one update."""
    began = time.monotonic()
    phase, wait_s = job.phase, 0.0
    optimizer.zero_grad(set_to_none=True)
    warm_up = stepper.begin(tally.epoch, tally.step)
    videos: list[torch.Tensor] = []
    for micro in range(phase.accumulate):
        asked = time.monotonic()
        if not micro:
            job.suffer("wait", tally)
        batch = next(batches)
        wait_s += time.monotonic() - asked
        last = micro == phase.accumulate - 1
        unsynced = isinstance(parallel, DistributedDataParallel) and not last
        with parallel.no_sync() if unsynced else nullcontext(), torch.set_grad_enabled(not warm_up):  # type: ignore[operator]
            micro_loss = stepper.forward(parallel, batch, micro)
            if not warm_up:
                (micro_loss / phase.accumulate).backward()
        videos.append(batch["video"])
    record(stepper, ledger)
    recorder.add()
    stepper.finish()
    numbers = stepper.numbers()
    if job.suffer("loss", tally):
        numbers = numbers * math.nan
    loss, own_key, spread = job.ranks.mean(numbers).tolist()
    broken = broken_gradients(stepper.encoder)
    if broken or not math.isfinite(loss):
        stop_before_update(job, tally, loss, torch.cat(videos).to(job.ranks.device), broken)
    if not warm_up:
        optimizer.step()
    seconds = time.monotonic() - began
    tally.loss += loss
    tally.own_key += own_key
    tally.seconds += seconds
    if tally.step % job.launch.log_every == 0:
        job.report(
            events.Step(
                phase=phase.name, epoch=tally.epoch, step=job.global_step(tally), loss=loss,
                lr=float(optimizer.param_groups[0]["lr"]), own_key_accuracy=own_key, spread=spread, step_s=seconds,
                wait_s=wait_s, clips_per_s=phase.batch_size / seconds, warm_up=warm_up,
            )
        )  # fmt: skip


def record(stepper: Stepper, ledger: Ledger) -> None:
    """Enter into the ledger what was mined, of all ranks; before the bank changes, while rows still mean these videos."""
    for picks in stepper.picks():
        counts = gather_cat(picks.counts[None]).sum(0).cpu().numpy()
        query_M, selected_MP = (gather_cat(ids).cpu().numpy() for ids in (picks.video_N, picks.selected_NP))
        ledger.add(query_M, selected_MP, counts, direction=picks.direction)


def finish_epoch(job: Job, ledger: Ledger, tally: Tally) -> Mapping[str, float | None]:
    """Report the epoch and write its mining table; its figures, by which checkpoints can be the best."""
    mining = ledger.finish(tally.epoch) if job.phase.miner is not None else None
    clips = job.phase.batch_size * job.steps_per_epoch
    if job.ranks.first and mining is not None:
        atomic_write_json(job.folder / "mining" / f"epoch-{tally.epoch:04d}.json", mining.to_json())
    loss, own_key = tally.loss / job.steps_per_epoch, tally.own_key / job.steps_per_epoch
    precision = mining.precision if mining else None
    cmr_source_median = mining.cmr_source_median if mining else None
    job.report(
        events.Epoch(
            phase=job.phase.name, epoch=tally.epoch, step=(tally.epoch + 1) * job.steps_per_epoch,
            loss=loss, own_key_accuracy=own_key, precision=precision, cmr_source_median=cmr_source_median,
            cmr_video_median=mining.cmr_video_median if mining else None,
            clips_per_s=clips / tally.seconds, seconds_s=tally.seconds, rss_gib=rss_gib(),
        )
    )  # fmt: skip
    return {
        "loss": loss,
        "own_key_accuracy": own_key,
        "precision": precision,
        "cmr_source_median": cmr_source_median,
    }


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
    what = (
        f"loss is {loss}" if not math.isfinite(loss) else f"{len(broken)} gradients are not finite, first {broken[0]}"
    )
    where = f"phase '{job.phase.name}', epoch {tally.epoch}, step {step}"
    hint = (
        f"as it is the run ends here again: lower the learning rate or set precision = 'float32'; the {len(ids)} clips of "
        f"the batch are in {path}"
    )
    raise CprspecError(Problem(f"{where}: {what}; weights were not updated", hint=hint), exit_code=1)


def make_loader(job: Job, tally: Tally) -> torch.utils.data.DataLoader[Batch]:
    """One loader for all the rest of the phase, so that its workers start once."""
    needed = [*job.phase.views, *([job.mining_view] if job.mining_view else [])]
    order = PhaseOrder(
        n=len(job.index.ids("train")),
        batch_size=job.phase.batch_size,
        accumulate=job.phase.accumulate,
        rank=job.ranks.rank,
        world_size=job.ranks.world,
        seed=job.phase.seed,
        first_epoch=tally.epoch,
        first_step=tally.step,
        epochs=job.phase.epochs,
    )
    return train_loader(
        index=job.index,
        views={name: job.views[name] for name in dict.fromkeys(needed)},
        clip=job.phase.clip,
        clips=job.phase.framework.clips_per_video,
        augment=job.phase.augment,
        store=job.store,
        order=order,
        workers=job.launch.workers,
        pin_memory=job.ranks.device.type == "cuda",
    )


def awaited(job: Job, loader: torch.utils.data.DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of `loader`; while this rank waits for one, its state says so, with the first file of the batch."""
    videos, ids = job.index.videos, job.index.ids("train")
    batches = iter(loader)
    for keys in loader.batch_sampler or ():
        _, position = keys[0]
        job.alive.at(WAIT, videos[ids[position]].path)
        batch = next(batches)
        job.alive.at(STEP)
        yield batch


def broken_gradients(encoder: torch.nn.Module) -> list[str]:
    """The names of the parameters whose gradient is not finite everywhere."""
    named = [(name, p.grad) for name, p in encoder.named_parameters() if p.grad is not None]
    if not named or bool(torch.isfinite(torch.stack(torch._foreach_norm([g for _, g in named]))).all()):
        return []
    return [name for name, gradient in named if not bool(torch.isfinite(gradient).all())] or ["their norm"]
