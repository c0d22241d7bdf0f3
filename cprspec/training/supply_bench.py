"""What `cprspec bench data` measures: how fast clips come from the videos, and how fast the device takes them.

A clip here is one view of one clip: a phase that reads two clips of a video in two views reads four. Rates of one core are
measured in this process, part by part; the whole supply with the experiment's data workers; the device's demand with the
phase's own model, optimiser and batch, of clips that are there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from attrs import evolve, frozen

from cprspec.components.views import Flow
from cprspec.data.index import Index
from cprspec.learning.ranks import cores, pick_device, share_threads
from cprspec.learning.rates import wait_for
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.prepare import read_data
from cprspec.training.trial import trial
from cprspec.video.clips import TrainClips, clip_shape
from cprspec.video.decode import read_clip
from cprspec.video.sampling import generator, train_indices
from cprspec.video.store import Store
from cprspec.video.supply import Supply
from cprspec.video.tray import Spent, Tray

MAX_VIDEOS = 64
"""Videos that are read, again and again: enough that they differ, few enough to be stored in a moment."""

ENOUGH = 1.1
"""By how much a supply must exceed the demand not to be the narrow place."""


@frozen
class Rate:
    """`clips` in `seconds`."""

    clips: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Clips a second."""
        return self.clips / max(self.seconds, 1e-9)


def measure(
    resolved: Resolved,
    phase_name: str | None,
    seconds: float,
    *,
    model: bool,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Everything as JSON (kind `data-bench`); each part takes about `seconds`. CprspecError as in a run."""
    phase = resolved.phase(phase_name) if phase_name else max(resolved.phases, key=lambda p: len(resolved.views_of(p)))
    index, store = read_data(resolved)[phase.dataset], Store(cache=resolved.launch.cache)
    ids = index.ids("train")
    ids = generator(resolved.seed, 0).permutation(ids)[:MAX_VIDEOS]
    some = evolve(index, videos=tuple(index.videos[v] for v in ids))
    workers, here = resolved.launch.workers, cores()
    views = {name: resolved.views[name] for name in resolved.views_of(phase)}
    store.fill([video.path for video in some.videos], views.values(), phase.clip.stored_side, here, progress)
    clips = TrainClips(
        some, np.arange(len(some.videos)), views, phase.clip, phase.augment, store, phase.seed,
        phase.framework.clips_per_video,
    )  # fmt: skip
    per_item = len(views) * phase.framework.clips_per_video
    cv2.setNumThreads(1)
    source = None if all(isinstance(v, Flow) for v in views.values()) else _source(some, phase, seconds)
    spent, items = _one_core(clips, seconds)
    supply = _supply(clips, phase, resolved, per_item, seconds)
    device = pick_device(resolved.launch.device, 0)
    demand = _demand(resolved, phase, index, device, per_item, seconds) if model else None
    found = {
        "schema": 1, "kind": "data-bench", "experiment": resolved.name, "phase": phase.name, "views": [*views],
        "clip": [*clip_shape(phase.clip)], "clips_per_video": per_item, "batch_size": phase.batch_size,
        "videos": len(some.videos), "cores": here, "workers": workers, "device": str(device),
        "source_clips_per_s": source.per_s if source else None,
        "store_clips_per_s": Rate(items * per_item, spent.decode_s).per_s,
        "augment_clips_per_s": Rate(items * per_item, spent.augment_s).per_s,
        "read_and_augment_clips_per_s": Rate(items * per_item, spent.decode_s + spent.augment_s).per_s,
        "supply_clips_per_s": supply.per_s, "supply_clips_per_s_per_core": supply.per_s / max(1, workers),
        "demand_clips_per_s": demand.per_s if demand else None,
        "notes": [],
    }  # fmt: skip
    found["narrow"], found["verdict"] = verdict(found)
    return found


def _source(index: Index, phase: Phase, seconds: float) -> Rate:
    """Random clips decoded straight from their files, by one core."""
    began, done = time.perf_counter(), 0
    rng = generator(phase.seed, 1)
    clip = phase.clip
    lengths: dict[Path, int] = {}
    for number in count():
        path = index.videos[number % len(index.videos)].path
        if path not in lengths:  # a run knows how long its videos are; looking it up does not count
            looked = time.perf_counter()
            lengths[path] = len(Store().pictures(path, clip.stored_side))
            began += time.perf_counter() - looked
        read_clip(path, train_indices(lengths[path], clip.frames, clip.stride, rng), clip.stored_side)
        done += 1
        if time.perf_counter() - began > seconds:
            break
    return Rate(done, time.perf_counter() - began)


def _one_core(clips: TrainClips, seconds: float) -> tuple[Spent, int]:
    """What reading stored clips and augmenting them costs one core, and of how many items."""
    spent, began, made = Spent(), time.perf_counter(), 0
    block = np.empty(clips.item_bytes() + 4096, np.uint8)
    for number in count():
        tray = Tray(block)
        clips.read((number // len(clips), number % len(clips)), tray)
        now = time.perf_counter() - began
        if number >= len(clips) or now > seconds / 2:  # the first time, files are opened
            spent.add(tray.spent)
            made += 1
        if made > 4 and now > seconds:
            return spent, made
    raise AssertionError("count() has no end")


def _supply(clips: TrainClips, phase: Phase, resolved: Resolved, per_item: int, seconds: float) -> Rate:
    """The whole supply, as training asks for it, when nobody makes it wait."""
    size = max(1, min(phase.batch_size // phase.accumulate, 64))
    with Supply(clips, _endless(len(clips), size), resolved.launch) as batches:
        for _ in islice(batches, 2):  # workers start, files are opened
            pass
        began, done = time.perf_counter(), 0
        for batch in batches:
            done += len(batch["video"])
            if time.perf_counter() - began > seconds:
                break
        return Rate(done * per_item, time.perf_counter() - began)


def _endless(videos: int, size: int) -> Iterator[list[tuple[int, int]]]:
    for epoch in count():
        order = generator(0, epoch).permutation(max(videos, size)).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield [(epoch, position % videos) for position in order[start : start + size]]


def _demand(
    resolved: Resolved, phase: Phase, index: Index, device: torch.device, per_item: int, seconds: float
) -> Rate:
    """Optimiser steps of the phase on clips that are there already (training/trial.py)."""
    share_threads(resolved.launch.threads, resolved.launch.workers, 1)
    with trial(resolved, phase, device, len(index.ids("train"))) as steps:
        steps.step()  # the first one is slower
        began = time.perf_counter()
        for done in count(1):
            steps.step(done)
            wait_for(device)
            if time.perf_counter() - began > seconds:
                return Rate(done * phase.batch_size * per_item, time.perf_counter() - began)
    raise AssertionError("count() has no end")


def verdict(found: dict[str, Any]) -> tuple[str | None, str]:
    """Which side is the narrow place (`data`, `device`, or None: not known), and in words what to change."""
    one, demand = found["read_and_augment_clips_per_s"], found["demand_clips_per_s"]
    store, augment = found["store_clips_per_s"], found["augment_clips_per_s"]
    part = "reading the stored clips" if store < augment else "augmentation"
    share = f"{part} takes {max(one / store, one / augment):.0%} of a worker's time"
    if demand is None:
        return None, f"one core reads and augments {one:.0f} clips a second; {share}"
    supply, workers, cores = found["supply_clips_per_s"], found["workers"], found["cores"]
    needed = max(1, -(-demand // one))
    if supply >= ENOUGH * demand:
        fewer = f"; {needed:.0f} would do" if workers > needed else ""
        return "device", (
            f"the device is the narrow place: {workers} data workers could feed {supply / demand:.1f} of it{fewer}. To go "
            "faster, make the step cheaper (precision, backbone, clip.size) or add devices"
        )
    idle = 1 - min(1.0, supply / demand)
    head = f"data are the narrow place: the device would wait {idle:.0%} of the time; {share}. "
    spare = cores - (1 if found["device"] == "cpu" else 0)
    if workers < min(needed, spare):
        return "data", head + f"Set launch.workers = {min(needed, spare):.0f}: {needed:.0f} would feed it"
    if store < augment:
        change = "Read from a faster disk or a prepared store, or store smaller pictures (clip.short_side)"
    else:
        change = "Lower clip.size or augment.strong, or use a machine with more cores"
    return "data", head + f"All {cores} cores are in use or spoken for. {change}"


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    frames, size = found["clip"][0], found["clip"][1]
    head = (
        f"phase {found['phase']} of {found['experiment']}: clips of {frames} frames, {size} pixels, "
        f"{found['clips_per_video']} of each video ({', '.join(found['views'])})"
    )
    rows = [
        ("from the source file", found["source_clips_per_s"], "clips/s on one core"),
        ("from the store or cache", found["store_clips_per_s"], "clips/s on one core"),
        ("augmented", found["augment_clips_per_s"], "clips/s on one core"),
        ("read and augmented", found["read_and_augment_clips_per_s"], "clips/s on one core"),
        (
            f"whole supply, {found['workers']} workers", found["supply_clips_per_s"],
            f"clips/s, {found['supply_clips_per_s_per_core']:.0f} for each worker",
        ),
        (f"the device takes ({found['device']})", found["demand_clips_per_s"], "clips/s"),
    ]  # fmt: skip
    table = [f"  {name:28} {'-' if rate is None else f'{rate:.0f}':>7} {unit}" for name, rate, unit in rows]
    return [head, *table, found["verdict"]]
