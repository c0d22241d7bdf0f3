"""Training one phase, from its first step or from a checkpoint to its last: read top to bottom.

What a framework does within a step is behind `Stepper`. One optimiser step is: `accumulate` micro-batches forward and
backward, what was mined into the ledger, the bank, the update. Sample order, augmentation and every draw are pure
functions of (seed, epoch, step), so a resumed phase continues exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from cprspec.learning.convolutions import choose_convolutions
from cprspec.learning.exchange import gather_cat, rank
from cprspec.learning.gradients import share_gradients
from cprspec.learning.ranks import SAVING_H, wait_for_all
from cprspec.learning.waits import waiting
from cprspec.mining.picks import stage_ranks
from cprspec.models.heads import Encoder
from cprspec.models.parts import use_recompute
from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.runs.rank_state import SAVE, STEP
from cprspec.training.ahead import Ahead
from cprspec.training.feed import count_bad_clips, make_supply
from cprspec.training.job import Job, Tally
from cprspec.training.ledger import Ledger
from cprspec.training.not_finite import Made, broken_gradients, gradients_finite, stop_before_save, stop_before_update
from cprspec.training.recorder import Recorder
from cprspec.training.report import rss_gib
from cprspec.training.signals import Stopped, asked_to_stop
from cprspec.training.snapshot import resume, save
from cprspec.training.stepper import Picks, Stepper
from cprspec.training.strips import Strips
from cprspec.training.writer import writing


def train_phase(job: Job, stepper: Stepper) -> Path:
    """Train to the last epoch and return the last checkpoint's folder. Raises `Stopped`, `CprspecError`."""
    phase = job.phase
    make_ready(job, stepper)
    optimizer = phase.optimizer.build(stepper.encoder.parameters())
    ledger = make_ledger(job, stepper)
    recorder = Recorder(job, stepper)
    strips = Strips(job)
    tally, last = resume(job, stepper, optimizer, ledger, recorder)
    job.ranks.check_same(f"step {job.global_step(tally)}")
    parallel = share_gradients(stepper.module) if job.ranks.world > 1 else stepper.module
    saved = time.monotonic()
    miner = phase.miner.at(0) if phase.miner else None
    with writing(job) as writer, make_supply(job, tally) as supply:
        batches = Ahead(supply, job.ranks.device)
        while tally.epoch < phase.epochs:
            job.alive.place(phase.name, tally.epoch, job.global_step(tally))
            job.alive.at(STEP)
            job.suffer("step", job.global_step(tally))
            for group in optimizer.param_groups:
                group["lr"] = phase.optimizer.lr * phase.schedule.factor(tally.epoch, phase.epochs)
            if phase.miner and (now := phase.miner.at(tally.epoch)) != miner:
                miner = now
                stepper.use_miner(now.build())
            made = train_step(job, stepper, parallel, optimizer, ledger, recorder, batches, tally)
            tally.step += 1
            figures: Mapping[str, float | None] = {}
            epoch_over = tally.step == job.steps_per_epoch
            if epoch_over:
                figures = finish_epoch(job, ledger, strips, tally)
                recorder.finish(tally.epoch)
                tally = Tally(epoch=tally.epoch + 1, told=tally.told)
            overdue = job.ranks.any(time.monotonic() - saved > 60 * job.launch.checkpoint_minutes)
            stop = asked_to_stop(job.stop, job.stop_file, job.ranks)
            if epoch_over or overdue or stop:
                job.alive.at(SAVE)
                stop_before_save(job, stepper, optimizer, made)
                last = save(writer, job, stepper, optimizer, ledger, recorder, tally, figures)
                saved = time.monotonic()
                wait_for_all(job.ranks, SAVING_H)
            if stop and tally.epoch < phase.epochs:
                writer.flush()
                raise Stopped(stop, job.global_step(tally))
    wait_for_all(job.ranks, SAVING_H)
    assert last is not None
    return last


def make_ready(job: Job, stepper: Stepper) -> None:
    """The framework's networks on the rank's device, in training mode, computed as `launch` has it."""
    phase, module, backbone = job.phase, stepper.module, stepper.encoder[0]
    module.to(job.ranks.device).train()
    clips = max(2, min(8, phase.batch_size // phase.accumulate // job.ranks.world))
    autocast = torch.bfloat16 if phase.precision == "bf16" else None
    choose_convolutions(module, job.launch.convolutions, backbone, phase.clip, clips, job.ranks, autocast=autocast)
    use_recompute(backbone, job.launch.checkpoint_activations)
    if job.launch.compile:
        for encoder in (network for network in module.modules() if isinstance(network, Encoder)):
            encoder[0].compile()  # in place: names of weights stay, and so do checkpoints


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
    batches: Ahead,
    tally: Tally,
) -> Made:
    """One optimiser step: every micro-batch of the global batch, then the bank and, past warm-up, one update."""
    began = time.monotonic()
    phase, wait_s = job.phase, 0.0
    optimizer.zero_grad(set_to_none=True)
    warm_up = stepper.begin(tally.epoch, tally.step)
    videos: list[torch.Tensor] = []
    for micro in range(phase.accumulate):
        asked = time.monotonic()
        if not micro:
            job.suffer("wait", job.global_step(tally))
        batch = next(batches)
        job.alive.at(STEP)
        wait_s += time.monotonic() - asked
        last = micro == phase.accumulate - 1
        unsynced = isinstance(parallel, DistributedDataParallel) and not last
        with parallel.no_sync() if unsynced else nullcontext(), torch.set_grad_enabled(not warm_up):  # type: ignore[operator]
            micro_loss = stepper.forward(parallel, batch, micro)
            if not warm_up:
                (micro_loss / phase.accumulate).backward()
        asked = time.monotonic()
        batches.look_ahead()  # while a GPU computes
        job.alive.at(STEP)
        wait_s += time.monotonic() - asked
        videos.append(batch["video"])
    record(stepper, ledger)
    recorder.add()
    stepper.finish()
    numbers = stepper.numbers()
    if job.suffer("loss", job.global_step(tally)):
        numbers = numbers * math.nan
    spent = batches.take_spent()
    of_rank = torch.tensor([spent.replaced, spent.decode_s, spent.augment_s], device=job.ranks.device)
    read = torch.cat([job.ranks.mean(torch.cat([numbers, of_rank])), gradients_finite(stepper.encoder)])
    with waiting():
        loss, own_key, spread, *costs, finite = read.tolist()  # the one thing that a step without a miner waits for
    replaced, decode_s, augment_s = (job.ranks.world * cost for cost in costs)
    count_bad_clips(job, tally, round(replaced), spent.unread)
    made = Made(tally.epoch, job.global_step(tally), loss, torch.cat(videos))
    if not (finite and math.isfinite(loss)):
        stop_before_update(job, made, [] if finite else broken_gradients(stepper.encoder))
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
                decode_s=decode_s, augment_s=augment_s,
            )
        )  # fmt: skip
    return made


def record(stepper: Stepper, ledger: Ledger) -> None:
    """Enter into the ledger what was mined, of all ranks; before the bank changes, while rows still mean these videos."""
    for picks in stepper.picks():
        with waiting():
            counts = gather_cat(picks.counts[None]).sum(0).cpu().numpy()
            query_M, selected_MP = (gather_cat(ids).cpu().numpy() for ids in (picks.video_N, picks.selected_NP))
        ledger.add(query_M, selected_MP, counts, direction=picks.direction, ranks=partial(ranks_of, picks))


def ranks_of(picks: Picks, row_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """`stage_ranks` of some rows of a micro-batch of all ranks; every rank asks for the same."""
    each = len(picks.video_N)
    own_R = torch.from_numpy(row_R // each == rank())
    own_r = (torch.from_numpy(row_R)[own_R] % each).to(picks.video_N.device)
    ranks_rPS = stage_ranks(picks.mined, own_r)
    ranks_RPS = ranks_rPS.new_full((len(row_R), *ranks_rPS.shape[1:]), -1)
    ranks_RPS[own_R] = ranks_rPS
    with waiting():
        found: NDArray[np.int64] = gather_cat(ranks_RPS[None]).amax(0).cpu().numpy()
    return found


def finish_epoch(job: Job, ledger: Ledger, strips: Strips, tally: Tally) -> Mapping[str, float | None]:
    """Report the epoch and write its mining table, after the strips that it names.

    Its figures are what a checkpoint can be the best by.
    """
    mining = ledger.finish(tally.epoch) if job.phase.miner is not None else None
    clips = job.phase.batch_size * job.steps_per_epoch
    if job.ranks.first and mining is not None:
        atomic_write_json(job.folder / "mining" / f"epoch-{tally.epoch:04d}.json", mining.to_json(strips.draw(mining)))
    loss, own_key = tally.loss / job.steps_per_epoch, tally.own_key / job.steps_per_epoch
    precision = mining.precision if mining else None
    cmr_source_median = mining.cmr_source_median if mining else None
    job.report(
        events.Epoch(
            phase=job.phase.name, epoch=tally.epoch, step=(tally.epoch + 1) * job.steps_per_epoch,
            loss=loss, own_key_accuracy=own_key, precision=precision, cmr_source_median=cmr_source_median,
            cmr_video_median=mining.cmr_video_median if mining else None,
            clips_per_s=clips / tally.seconds, seconds_s=tally.seconds, rss_gib=rss_gib(),
            replaced=tally.replaced,
        )
    )  # fmt: skip
    return {
        "loss": loss,
        "own_key_accuracy": own_key,
        "precision": precision,
        "cmr_source_median": cmr_source_median,
    }
