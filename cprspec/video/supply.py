"""The supply of clips: batches in order, made ahead by data workers in shared memory of a bounded size.

The items of a batch are shared out among the workers, each to the one that owes least, and are written where the batch lies,
so that nothing is copied. No random numbers are drawn here, and none of torch's state is touched.

Legend: N items of a batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context, util
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from attrs import define, field

from cprspec.spec.schema import Launch
from cprspec.video.shared import Board, SharedBytes, free_bytes
from cprspec.video.tray import Clips, Spent, Tray, after, rooms_of
from cprspec.video.workers import PRELOADED, Done, Share, Worker, stop_workers

Item = dict[str, torch.Tensor]

Waits = Callable[[Path | None], None]

AHEAD = 4
"""Batches, or items for each worker, that are made ahead where memory allows."""

LOOK_S = 0.5
"""Time between two looks at workers that are waited for, seconds."""

AT_LEAST_S = 4.0
"""A worker is not said to hang before it was waited for so long: the whole machine may have slept."""


def _ignore(_file: Path | None) -> None:
    """Nobody wants to hear what is waited for."""


@define
class _Pending:
    """A batch that workers are making."""

    number: int
    slot: int
    keys: list[Any]
    missing: int
    videos: dict[int, int] = field(factory=dict)
    last: Done | None = None
    spent: Spent = field(factory=Spent)


class Supply(Iterator[Item]):
    """The batches of `clips` by `keys`: `video` `[N]` int64, and uint8 `[N, ...]` under each name. A context manager.

    With workers a batch lies in memory that is used again: it is good until the next one is asked for. `pin`: copied to
    page-locked memory, for a GPU. `waits` hears of the file that is waited for, when waiting begins and when it is another.
    `take_spent` tells what the items given so far cost. CprspecError when a video cannot be read, a worker dies or is at one
    item for longer than `launch.data_timeout_s`, or shared memory is full.
    """

    def __init__(
        self,
        clips: Clips,
        keys: Iterable[list[Any]],
        launch: Launch,
        *,
        pin: bool = False,
        waits: Waits = _ignore,
    ) -> None:
        self._spent = Spent()
        self._clips, self._pin, self._waits, self._timeout_s = clips, pin, waits, launch.data_timeout_s
        self._coming = iter(keys)
        self._next_keys = next(self._coming, None)
        self._number = 0
        self._pending: deque[_Pending] = deque()
        self._lent: int | None = None
        self._workers: list[Worker] = []
        if launch.workers and self._next_keys is not None:
            self._start(launch, len(self._next_keys))
        self._stop = util.Finalize(self, stop_workers, args=(self._workers,), exitpriority=10)

    def _start(self, launch: Launch, rows: int) -> None:
        self._slot_bytes = slot_bytes(self._clips.item_bytes(), rows)
        slots = slots_of(self._slot_bytes, rows, launch)
        self._memory = SharedBytes(slots * self._slot_bytes)
        self._free = deque(range(slots))
        get_context("forkserver").set_forkserver_preload([*PRELOADED])
        board = Board(launch.workers)
        for number in range(launch.workers):
            self._workers.append(Worker.start(number, self._clips, self._memory, self._slot_bytes, board))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._stop.still_active():
            self._stop()

    def __next__(self) -> Item:
        if not self._workers:
            return self._made_here()
        if self._lent is not None:
            self._free.append(self._lent)
            self._lent = None
        self._hand_out()
        if not self._pending:
            self.close()
            raise StopIteration
        first = self._pending[0]
        self._await(first)
        self._pending.popleft()
        self._lent = first.slot
        self._spent.add(first.spent)
        return self._batch(first)

    def take_spent(self) -> Spent:
        """What items cost since this was last asked."""
        spent, self._spent = self._spent, Spent()
        return spent

    def _hand_out(self) -> None:
        """Give work for every slot that is free."""
        while self._free and self._next_keys is not None:
            keys, slot = self._next_keys, self._free.popleft()
            self._next_keys = next(self._coming, None)
            owed = [w.owed for w in self._workers]
            parts: list[list[tuple[int, Any]]] = [[] for _ in owed]
            for row, key in enumerate(keys):
                least = int(np.argmin(owed))
                owed[least] += 1
                parts[least].append((row, key))
            self._pending.append(_Pending(self._number, slot, keys, missing=len(keys)))
            for worker, part in zip(self._workers, parts, strict=True):
                if part:
                    worker.give(Share(self._number, slot, len(keys), tuple(part)))
            self._number += 1

    def _await(self, first: _Pending) -> None:
        """Take what workers send until the batch is whole, and see whether they are well."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        by_end = {worker.process.sentinel: worker for worker in self._workers}
        waited_s, file = 0.0, None
        while True:
            if first.missing and (now_at := self._slowest().file) != file:
                self._waits(file := now_at)
            ready = wait([*by_pipe, *by_end], LOOK_S if first.missing else 0)
            for pipe, worker in by_pipe.items():
                if pipe in ready:
                    self._take(worker.take())
            if not first.missing:
                return
            for end, worker in by_end.items():
                if end in ready and not worker.pipe.poll():
                    raise worker.death()
            if not ready:
                waited_s += LOOK_S
            now = time.monotonic()
            for worker in self._workers:
                if worker.silent_s(now) > self._timeout_s and waited_s >= min(AT_LEAST_S, self._timeout_s):
                    raise worker.hangs(self._timeout_s)

    def _slowest(self) -> Worker:
        """The worker that has been at one item for longest."""
        now = time.monotonic()
        return max(self._workers, key=lambda worker: worker.silent_s(now))

    def _take(self, done: Done) -> None:
        batch = next(p for p in self._pending if p.number == done.batch)
        batch.missing -= len(done.videos)
        batch.videos.update(done.videos)
        batch.last = done
        batch.spent.add(done.spent)

    def _batch(self, made: _Pending) -> Item:
        assert made.last is not None
        block = self._memory.bytes[made.slot * self._slot_bytes : (made.slot + 1) * self._slot_bytes]
        arrays = rooms_of(block, list(made.last.rooms), len(made.keys))
        arrays |= {name: own[None] for name, own in made.last.own.items()}
        return self._tensors(arrays, [made.videos[row] for row in range(len(made.keys))])

    def _tensors(self, arrays: dict[str, Any], videos: list[int]) -> Item:
        found = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self._pin:
            found = {name: tensor.pin_memory() for name, tensor in found.items()}
        return {"video": torch.tensor(videos), **found}

    def _made_here(self) -> Item:
        """The next batch, made in this process."""
        keys = self._next_keys
        if keys is None:
            raise StopIteration
        self._next_keys = next(self._coming, None)
        block = np.empty(slot_bytes(self._clips.item_bytes(), len(keys)), np.uint8)
        trays = [Tray(block, row, len(keys), self._waits) for row in range(len(keys))]
        for key, tray in zip(keys, trays, strict=True):
            self._clips.read(key, tray)
            self._spent.add(tray.spent)
        arrays = rooms_of(block, trays[0].rooms, len(keys))
        arrays |= {name: own[None] for name, own in trays[0].own.items()}
        return self._tensors(arrays, [tray.video for tray in trays])


def slot_bytes(item_bytes: int, rows: int) -> int:
    """Memory for a batch of `rows` items: each of their arrays begins on a border of its own."""
    return after(0, rows * item_bytes) + 4096


def slots_of(size: int, rows: int, launch: Launch) -> int:
    """How many batches of `size` bytes are held: within `prefetch_gib` and the memory there is, and never fewer than two.

    One is lent to who asked last; the others are being made.
    """
    wanted = 1 + max(AHEAD, -(-AHEAD * launch.workers // rows))
    within = min(int(launch.prefetch_gib * 2**30), int(0.9 * free_bytes()))
    return max(2, min(wanted, within // size))
