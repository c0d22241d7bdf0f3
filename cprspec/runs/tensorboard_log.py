"""The events of a run as a TensorBoard log, by TensorBoard's own writer (the extra `tensorboard`, without torch).

Scalars are called `PHASE/step/NAME` and `PHASE/epoch/NAME`; their step is the phase's, their time that of the event.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import fields

from cprspec.errors import CprspecError, Problem, clean
from cprspec.runs.events import Epoch, Event, Step
from cprspec.runs.files import atomic_write_bytes
from cprspec.runs.records import as_number

FILE = "events.out.tfevents.0.cprspec"
"""TensorBoard reads every file with `tfevents` in its name; this one is replaced when a run is written again."""

_VERSION = "brain.Event:2"
_NO_SCALAR = {"time", "t_s", "phase", "epoch", "step", "warm_up"}


def write_log(events: Iterable[Event], kinds: Sequence[type[Event]], folder: Path) -> tuple[Path, int]:
    """Write the numbers of the steps and epochs among `events` into `folder`; the file, and how many numbers.

    Numbers that are not known leave no point. CprspecError where the extra is not installed.
    """
    wanted = tuple(kind for kind in (Step, Epoch) if kind in kinds)
    if not wanted:
        raise CprspecError(Problem("TensorBoard shows numbers over steps", hint="choose the kinds step and epoch"))
    record, event_type, summary_type = _tensorboard()
    stream, points = io.BytesIO(), 0
    writer = record(stream)
    first = True
    for event in events:
        if not isinstance(event, wanted):
            continue
        if first:
            writer.write(event_type(wall_time=event.time, file_version=_VERSION).SerializeToString())
            first = False
        values = [summary_type.Value(tag=tag, simple_value=number) for tag, number in scalars(event)]
        summary = summary_type(value=values)
        writer.write(event_type(wall_time=event.time, step=event.step, summary=summary).SerializeToString())
        points += len(values)
    if first:
        raise CprspecError(Problem("the run has logged no step yet", hint="wait for one"))
    path = folder / FILE
    atomic_write_bytes(path, stream.getvalue())
    return path, points


def scalars(event: Step | Epoch) -> list[tuple[str, float]]:
    """The numbers of an event that are known, and what TensorBoard calls them."""
    names = [f.name for f in fields(type(event)) if f.name not in _NO_SCALAR]
    numbers = [(name, as_number(getattr(event, name))) for name in names]
    phase = clean(event.phase, 100)
    return [(f"{phase}/{event.kind}/{name}", number) for name, number in numbers if number is not None]


def _tensorboard() -> tuple[Any, Any, Any]:
    """The record writer, and the messages Event and Summary."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event as EventMessage
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tensorboard":
            raise
        hint = "install it with pip install 'cprspec[tensorboard]'"
        raise CprspecError(Problem("a TensorBoard log needs tensorboard", hint=hint), exit_code=1) from error
    return RecordWriter, EventMessage, Summary
