"""What happens in a run, as events, and the log they are appended to: one flushed JSON line per event.

Units stand in the names. Epochs and steps count from 0. `time` is unix seconds, for people; `t_s` is monotonic seconds
of work since the run started (a pause between attempts is not counted), for every duration. See docs/run-directory.md.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from attrs import asdict, evolve, frozen

from cprspec.errors import CprspecError, Place, Problem
from cprspec.runs.files import finite, write_failed

SCHEMA = 1
HEADER_KIND = "events"
_BLOCK = 64 * 1024


@frozen(kw_only=True)
class Event:
    """Something that happened. `EventLog.write` fills in `time` (unix seconds) and `t_s` (seconds of the run)."""

    kind: ClassVar[str]
    time: float = 0.0
    t_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """One line of the log."""
        return {"kind": self.kind, **asdict(self)}


@frozen(kw_only=True)
class RunStarted(Event):
    """The first attempt begins; `phases` are the names in order."""

    kind: ClassVar[str] = "run-started"
    name: str
    seed: int
    phases: tuple[str, ...]
    world_size: int
    version: str


@frozen(kw_only=True)
class Resumed(Event):
    """A later attempt goes on with `phase` at `from_step`, the first step it makes; logged steps from there on are void."""

    kind: ClassVar[str] = "resumed"
    attempt: int
    phase: str
    from_step: int


@frozen(kw_only=True)
class PhaseStarted(Event):
    """Phase number `position` (from 0) `of` so many. `reused_from`: the run whose finished phase was copied."""

    kind: ClassVar[str] = "phase-started"
    phase: str
    position: int
    of: int
    views: tuple[str, ...]
    miner: str | None
    epochs: int
    steps_per_epoch: int
    reused_from: str | None


@frozen(kw_only=True)
class Step(Event):
    """One optimiser step, or one step of warm-up, which makes none. `step` counts over the whole phase.

    `decode_s` and `augment_s`: what its clips cost their data workers, added up over clips and ranks.
    """

    kind: ClassVar[str] = "step"
    phase: str
    epoch: int
    step: int
    loss: float | None
    lr: float
    own_key_accuracy: float | None
    spread: float | None
    step_s: float
    wait_s: float
    clips_per_s: float
    warm_up: bool
    decode_s: float | None = None
    augment_s: float | None = None


@frozen(kw_only=True)
class Epoch(Event):
    """An epoch ended, with `step` steps of the phase done; `precision` and the CMR medians are of what it mined.

    `replaced`: clips of videos that could not be read, in the place of which it saw others.
    """

    kind: ClassVar[str] = "epoch"
    phase: str
    epoch: int
    step: int
    loss: float | None
    own_key_accuracy: float | None
    precision: float | None
    cmr_source_median: float | None
    cmr_video_median: float | None
    clips_per_s: float
    seconds_s: float
    rss_gib: float
    replaced: int = 0


@frozen(kw_only=True)
class PhaseFinished(Event):
    """A phase has its weights. `peak_gib`: most memory of a rank meanwhile, `stated_gib`: what was expected of it."""

    kind: ClassVar[str] = "phase-finished"
    phase: str
    seconds_s: float
    weights_sha256: str
    stated_gib: float | None = None
    peak_gib: float | None = None


@frozen(kw_only=True)
class EvaluationStarted(Event):
    """An evaluation began, or went on after a stop."""

    kind: ClassVar[str] = "evaluation-started"
    name: str


@frozen(kw_only=True)
class Evaluating(Event):
    """An evaluation that trains a classifier on `encoder` ended `epoch` `of` so many."""

    kind: ClassVar[str] = "evaluating"
    name: str
    encoder: str
    dataset: str
    epoch: int
    of: int
    loss: float | None


@frozen(kw_only=True)
class Evaluated(Event):
    """An evaluation has its records. `reused_from`: the run whose results were copied."""

    kind: ClassVar[str] = "evaluated"
    name: str
    records: int
    seconds_s: float
    reused_from: str | None = None


@frozen(kw_only=True)
class Warned(Event):
    """Something a user should know that did not stop the run."""

    kind: ClassVar[str] = "warning"
    message: str


@frozen(kw_only=True)
class RunFinished(Event):
    """Every phase and evaluation is done."""

    kind: ClassVar[str] = "run-finished"
    seconds_s: float


@frozen(kw_only=True)
class RunFailed(Event):
    """The run ended with an error."""

    kind: ClassVar[str] = "run-failed"
    message: str


@frozen(kw_only=True)
class Stopped(Event):
    """The run was asked to stop and saved itself after `step`; None between phases and evaluations."""

    kind: ClassVar[str] = "stopped"
    signal: str
    step: int | None


EVENTS: tuple[type[Event], ...] = (
    RunStarted, Resumed, PhaseStarted, Step, Epoch, PhaseFinished, EvaluationStarted, Evaluating, Evaluated, Warned,
    RunFinished, RunFailed, Stopped,
)  # fmt: skip

E = TypeVar("E", bound=Event)


class EventLog:
    """The writer of `events.jsonl`; a run has one. Opening repairs a torn last line and changes nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
            self._size = _repair(self._file.fileno())
        except OSError as error:
            raise write_failed(path, error) from error
        self._t_s = _last_t_s(self._file.fileno(), self._size)
        self._opened = time.monotonic()
        if self._size == 0:
            self._append({"schema": SCHEMA, "kind": HEADER_KIND, "time": time.time(), "t_s": 0.0})

    def write(self, event: E) -> E:
        """Append `event`, stamped with the time, and return it as stamped. Raises CprspecError when the disk is full."""
        stamped = evolve(event, time=time.time(), t_s=self._t_s + time.monotonic() - self._opened)
        self._append(stamped.to_json())
        return stamped

    def sync(self) -> None:
        """Wait until the disk has everything written: before a checkpoint that relies on it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(finite(line), ensure_ascii=True, allow_nan=False) + "\n"
        data = text.encode("ascii")
        self._check_place()
        try:
            done = 0
            while done < len(data):
                done += self._file.write(data[done:]) or 0
        except OSError as error:
            # A full disk takes half a line: give the half back, so that the log stays whole.
            os.ftruncate(self._file.fileno(), self._size)
            raise write_failed(self.path, error, len(data)) from error
        self._size += len(data)

    def _check_place(self) -> None:
        """CprspecError where the file is no longer the one under its name: nobody would ever read what it is told."""
        here = os.fstat(self._file.fileno())
        try:
            there = self.path.stat()
        except OSError:
            there = None
        if there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            message = "the run directory was removed or moved while the run was writing to it"
            raise CprspecError(Problem(message, Place(str(self.path)), "start it again"), exit_code=1)


def _repair(descriptor: int) -> int:
    """Cut a last line without its newline; returns the size in bytes that is left."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
    return end


def _last_t_s(descriptor: int, size: int) -> float:
    """`t_s` of the last event that can be read near the end, 0 if there is none."""
    start = max(0, size - _BLOCK)
    for line in reversed(os.pread(descriptor, size - start, start).splitlines()):
        try:
            t_s = json.loads(line).get("t_s")
        except (ValueError, AttributeError, RecursionError):
            continue
        if isinstance(t_s, int | float) and not isinstance(t_s, bool) and t_s >= 0:
            return float(t_s)
    return 0.0
