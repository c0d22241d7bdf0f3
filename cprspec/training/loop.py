"""Training one phase, from its first step or from a checkpoint to its last: read top to bottom.

Sample order, augmentation, shuffled-BN permutation and own-key coin are pure functions of (seed, epoch, step), so a
resumed phase continues exactly. One optimiser step is: momentum update, `accumulate` micro-batches forward and
backward, enqueue, update. Until the queue of a mining phase is full no optimiser step is made (PROTOCOL: as published).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from cprspec.errors import CprspecError, Problem
from cprspec.learning.exchange import gather_cat
from cprspec.learning.moco import MoCo, own_key_accuracy, spread
from cprspec.learning.moco import Step as MicroStep
from cprspec.mining.funnel import stage_counts
from cprspec.models.encoders import moco_options
from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.training.job import Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.report import rss_gib
from cprspec.training.signals import Stopped, asked_to_stop
from cprspec.training.snapshot import resume, save
from cprspec.video.clips import PhaseOrder, train_loader
from cprspec.video.sampling import generator

PERMUTATION, COIN, PICKS = 101, 102, 103
"""Streams of random numbers beside those of sampling and augmentation."""

Batch = dict[str, torch.Tensor]


def train_phase(job: Job, model: MoCo) -> Path:
    """Train `model` to its last epoch and return the last checkpoint's folder. Raises `Stopped`, `CprspecError`."""
    phase = job.phase
    model.to(job.ranks.device).train()
    optimizer = phase.optimizer.build(model.encoder_q.parameters())
    ledger = Ledger(
        job.index.labels,
        job.index.source_ids,
        job.index.ids("train"),
        classes=job.index.classes,
        names=[video.name for video in job.index.videos],
        phase=phase.name,
        dataset=phase.dataset,
    )
    tally, last = resume(job, model, optimizer, ledger)
    parallel = share_gradients(model) if job.ranks.world > 1 else model
    batches = iter(make_loader(job, tally))
    saved = time.monotonic()
    miner = phase.miner.at(0) if phase.miner else None
    while tally.epoch < phase.epochs:
        for group in optimizer.param_groups:
            group["lr"] = phase.optimizer.lr * phase.schedule.factor(tally.epoch, phase.epochs)
        if phase.miner and (now := phase.miner.at(tally.epoch)) != miner:
            miner, model.miner = now, now.build()
        train_step(job, parallel, model, optimizer, ledger, batches, tally)
        tally.step += 1
        epoch_over = tally.step == job.steps_per_epoch
        if epoch_over:
            finish_epoch(job, ledger, tally)
            tally = Tally(epoch=tally.epoch + 1)
        overdue = job.ranks.any(time.monotonic() - saved > 60 * job.launch.checkpoint_minutes)
        stop = asked_to_stop(job.stop, job.stop_file, job.ranks)
        if epoch_over or overdue or stop:
            last = save(job, model, optimizer, ledger, tally)
            saved = time.monotonic()
        if stop and tally.epoch < phase.epochs:
            raise Stopped(stop, job.global_step(tally))
    assert last is not None
    return last


def share_gradients(model: MoCo) -> torch.nn.Module:
    """The model whose gradients are averaged over ranks. Batch-norm statistics are not exchanged: rank 0's are the ones."""
    with warnings.catch_warnings():
        # torch 2.14 deprecates this name, and what shall replace it exchanges statistics once, at the start.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


def train_step(
    job: Job,
    parallel: torch.nn.Module,
    model: MoCo,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    batches: Iterator[Batch],
    tally: Tally,
) -> None:
    """One optimiser step: every micro-batch of the global batch, then one enqueue and, past warm-up, one update."""
    began = time.monotonic()
    phase, device, wait_s = job.phase, job.ranks.device, 0.0
    coin = generator(phase.seed, COIN, tally.epoch, tally.step).random()
    drop_own = bool(coin < moco_options(phase).drop_own_key)
    optimizer.zero_grad(set_to_none=True)
    model.momentum_update()
    warm_up = model.warming_up
    outcomes: list[MicroStep] = []
    videos: list[torch.Tensor] = []
    for micro in range(phase.accumulate):
        asked = time.monotonic()
        batch = next(batches)
        wait_s += time.monotonic() - asked
        last = micro == phase.accumulate - 1
        unsynced = isinstance(parallel, DistributedDataParallel) and not last
        with parallel.no_sync() if unsynced else nullcontext(), torch.set_grad_enabled(not warm_up):  # type: ignore[operator]
            video_N = batch["video"].to(device, non_blocking=True)
            step = forward(job, parallel, model, batch, video_N, (tally.epoch, tally.step, micro), drop_own)
            if not warm_up:
                (step.loss / phase.accumulate).backward()
        outcomes.append(step)
        videos.append(video_N)
    record(job, model, ledger, outcomes, videos)
    model.enqueue(outcomes, torch.cat(videos), job.source_V[torch.cat(videos)])
    numbers = [
        torch.stack([o.loss.detach() for o in outcomes]).mean(),
        torch.stack([own_key_accuracy(o) for o in outcomes]).mean(),
        spread(outcomes[-1].query_ND),
    ]
    loss, own_key, spread_now = job.ranks.mean(torch.stack(numbers)).tolist()
    if not _finite(loss, optimizer):
        stop_before_update(job, tally, loss, torch.cat(videos))
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
                lr=float(optimizer.param_groups[0]["lr"]), own_key_accuracy=own_key, spread=spread_now, step_s=seconds,
                wait_s=wait_s, clips_per_s=phase.batch_size / seconds, warm_up=warm_up,
            )
        )  # fmt: skip


def forward(
    job: Job,
    parallel: torch.nn.Module,
    model: MoCo,
    batch: Batch,
    video_N: torch.Tensor,
    at: tuple[int, int, int],
    drop_own: bool,
) -> MicroStep:
    """The forward pass of one micro-batch of this rank; `at` is (epoch, step, micro-batch)."""
    phase, device = job.phase, job.ranks.device
    clips = batch[phase.views[0]].to(device, non_blocking=True)
    mining = batch[job.mining_view][:, 1].to(device, non_blocking=True) if job.mining_view else None
    allowed_NK = None
    if phase.miner is not None and phase.miner.by_labels:
        bank_K = model.bank.video_K
        allowed_NK = (job.label_V[video_N][:, None] == job.label_V[bank_K.clamp(min=0)]) & (bank_K >= 0)
    order = generator(phase.seed, PERMUTATION, *at).permutation(len(video_N) * job.ranks.world)
    picks = torch.Generator(device=device).manual_seed(
        int(generator(phase.seed, PICKS, *at, job.ranks.rank).integers(2**62))
    )
    step = parallel(
        clips[:, 0],
        clips[:, 1],
        mining,
        video_N,
        job.source_V[video_N],
        permutation_M=torch.from_numpy(order).to(device),
        drop_own=drop_own,
        allowed_NK=allowed_NK,
        generator=picks,
    )
    assert isinstance(step, MicroStep)
    return step


def record(job: Job, model: MoCo, ledger: Ledger, outcomes: list[MicroStep], videos: list[torch.Tensor]) -> None:
    """Enter into the ledger what was mined, of all ranks; before the enqueue, while rows still mean these videos."""
    bank_K = model.bank.video_K
    for step, video_N in zip(outcomes, videos, strict=True):
        if step.mined is None:
            continue
        rows = step.mined.rows_NP
        selected_NP = torch.where(rows >= 0, bank_K[rows.clamp(min=0)], -1)
        bank_label_K = torch.where(bank_K >= 0, job.label_V[bank_K.clamp(min=0)], -1)
        counts = stage_counts(step.mined.survivors, job.label_V[video_N], bank_label_K, step.eligible_NK)
        counts = gather_cat(counts[None]).sum(0)
        ledger.add(gather_cat(video_N).cpu().numpy(), gather_cat(selected_NP).cpu().numpy(), counts.cpu().numpy())


def finish_epoch(job: Job, ledger: Ledger, tally: Tally) -> None:
    """Report the epoch and write its mining table."""
    mining = ledger.finish(tally.epoch) if job.phase.miner is not None else None
    clips = job.phase.batch_size * job.steps_per_epoch
    if job.ranks.first and mining is not None:
        atomic_write_json(job.folder / "mining" / f"epoch-{tally.epoch:04d}.json", mining.to_json())
    job.report(
        events.Epoch(
            phase=job.phase.name, epoch=tally.epoch, step=(tally.epoch + 1) * job.steps_per_epoch,
            loss=tally.loss / job.steps_per_epoch, own_key_accuracy=tally.own_key / job.steps_per_epoch,
            precision=mining.precision if mining else None,
            cmr_source_median=mining.cmr_source_median if mining else None,
            cmr_video_median=mining.cmr_video_median if mining else None,
            clips_per_s=clips / tally.seconds, seconds_s=tally.seconds, rss_gib=rss_gib(),
        )
    )  # fmt: skip


def stop_before_update(job: Job, tally: Tally, loss: float, video_N: torch.Tensor) -> None:
    """A loss or gradient that is not finite ends the run before it reaches the weights."""
    names = [job.index.videos[v].name for v in gather_cat(video_N).tolist()]
    where = f"phase '{job.phase.name}', epoch {tally.epoch}, step {job.global_step(tally)}"
    message = f"{where}: loss or gradient is not finite (loss {loss}); weights were not updated"
    hint = f"lower the learning rate or set precision = 'float32'; clips of the batch: {', '.join(names[:8])} ..."
    raise CprspecError(Problem(message, hint=hint), exit_code=1)


def make_loader(job: Job, tally: Tally) -> torch.utils.data.DataLoader[Batch]:
    """One loader for all the rest of the phase, so that its workers start once."""
    needed = [job.phase.views[0], *([job.mining_view] if job.mining_view else [])]
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
        augment=job.phase.augment,
        store=job.store,
        order=order,
        workers=job.launch.workers,
        pin_memory=job.ranks.device.type == "cuda",
    )


def _finite(loss: float, optimizer: torch.optim.Optimizer) -> bool:
    if not math.isfinite(loss):
        return False
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return not gradients or bool(torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all())
