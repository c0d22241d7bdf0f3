"""Batches on the device: on a GPU each is copied there while the one before is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from cprspec.training.stepper import Batch
from cprspec.video.tray import Spent


class Batches(Protocol):
    """Where micro-batches come from: a supply (video/supply.py), or noise (training/trial.py)."""

    def __next__(self) -> Batch:
        """The next micro-batch."""
        ...

    def take_spent(self) -> Spent:
        """What the items given since this was last asked cost."""
        ...


class Ahead(Iterator[Batch]):
    """The micro-batches of `batches`; on a GPU they lie there, and one is taken and copied before it is asked for.

    Copies go their own way (a CUDA stream), beside what the device computes. On a CPU nothing is taken early: a supply's batch
    is good only until the next one is asked for. What a batch cost is told when the batch is given, never before.
    """

    def __init__(self, batches: Batches, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._staged: tuple[Batch, Spent] | None = None
        self._spent = Spent()

    def look_ahead(self) -> None:
        """Take the next batch, if there is one, and begin to copy it; call this when the device has been given work."""
        if self._stream is None or self._staged is not None:
            return
        try:
            batch = next(self._batches)
        except StopIteration:
            return
        self._staged = self._sent(batch), self._batches.take_spent()

    def __next__(self) -> Batch:
        if self._stream is None:
            return next(self._batches)
        self.look_ahead()
        if self._staged is None:
            raise StopIteration
        (batch, spent), self._staged = self._staged, None
        self._spent.add(spent)
        return self._arrived(batch)

    def take_spent(self) -> Spent:
        """What the batches given since this was last asked cost."""
        if self._stream is None:
            return self._batches.take_spent()
        spent, self._spent = self._spent, Spent()
        return spent

    def _sent(self, batch: Batch) -> Batch:
        """The batch on its way; page-locked memory is not used again before it has left."""
        with torch.cuda.stream(self._stream):
            return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def _arrived(self, batch: Batch) -> Batch:
        """The same, to be computed with: what is given to the device from now on waits for the copies."""
        assert self._stream is not None
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        for tensor in batch.values():
            tensor.record_stream(computing)  # so that its memory is not given away while it is computed with
        return batch
