"""Checkpoints written beside training: training waits for the copy of its tensors, not for the disk.

One is written at a time, so the next waits for the one before. What went wrong with it is raised there, or by `flush`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from cprspec.training.checkpoint import Keep, own
from cprspec.training.checkpoint import save as save_now
from cprspec.training.job import Job, Tally
from cprspec.training.pulse import log


@frozen
class Copied:
    """A checkpoint's content that later steps do not touch."""

    step: int
    weights: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    meta: Mapping[str, Any]


class CheckpointWriter:
    """Writes the checkpoints of one phase on rank 0."""

    def __init__(self, job: Job) -> None:
        launch = job.launch
        self._job = job
        self._keep = Keep(last=launch.keep_last, best=launch.keep_best, by=launch.best_by)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def put(
        self,
        tally: Tally,
        weights: Mapping[str, torch.Tensor],
        state: Mapping[str, torch.Tensor],
        meta: Mapping[str, Any],
    ) -> Path:
        """Copy the tensors, let them be written, and say where. Raises what the one before could not be written for."""
        self.flush()
        began = time.monotonic()
        copied = Copied(self._job.global_step(tally), own(weights), own(state), meta)
        log.info("checkpoint of step %d copied in %.3f s", copied.step, time.monotonic() - began)
        self._thread = threading.Thread(target=self._write, args=(copied,), name="checkpoint")
        self._thread.start()
        return self._job.checkpoints / f"step-{copied.step:06d}"

    def flush(self) -> None:
        """Wait until everything is on disk. Raises whatever something could not be written for, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, copied: Copied) -> None:
        began = time.monotonic()
        try:
            save_now(
                self._job.checkpoints, copied.step, copied.weights, copied.state, copied.meta,
                midway=lambda: self._job.suffer("save", copied.step),
            )  # fmt: skip
            self._keep.apply(self._job.checkpoints)
        except BaseException as error:  # noqa: BLE001 - or the thread would take it along, and nobody knew
            self._error = error
        else:
            log.info("checkpoint of step %d written in %.3f s", copied.step, time.monotonic() - began)


@contextmanager
def writing(job: Job) -> Iterator[CheckpointWriter]:
    """A writer that has everything on disk when the context ends, also where training ended with an error."""
    writer = CheckpointWriter(job)
    try:
        yield writer
    except BaseException:
        try:
            writer.flush()
        except Exception as error:  # noqa: BLE001 - the first error is the one to tell
            log.error("%s: %s", type(error).__name__, error)
        raise
    writer.flush()
