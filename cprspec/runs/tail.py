"""Reading the event log while it is being written, and when it is damaged.

Half a last line means "not yet". Kinds and fields that this version does not know are passed over; a line that is no
event (bad UTF-8, zero bytes, wrong types, not a number) is counted with its number and the rest is used. What a resumed
attempt makes again is dropped by `drop_superseded`. Nothing here writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from attrs import NOTHING, define, field, fields, frozen

from cprspec.errors import CprspecError, Problem
from cprspec.runs.events import EVENTS, HEADER_KIND, Epoch, Event, PhaseFinished, PhaseStarted, Resumed, Step

MAX_LINE = 1 << 20
"""A line longer than this many bytes is damage."""

READ_BUDGET = 8 << 20
"""Bytes that one `poll` reads at most, so that a screen stays alive."""

_SHOWN = 20
_STEP_LINE = f'{{"kind": "{Step.kind}"'.encode()
"""How the writer begins a step's line."""


@define
class Damage:
    """Lines that could not be read: how many, and number (from 1) and reason of the first of them.

    `unknown` counts good lines of kinds that this version does not know.
    """

    count: int = 0
    unknown: int = 0
    lines: list[tuple[int, str]] = field(factory=list)

    def add(self, line: int, reason: str) -> None:
        """Count line number `line`."""
        self.count += 1
        if len(self.lines) < _SHOWN:
            self.lines.append((line, reason))


def read_events(path: Path, *, without: Collection[type[Event]] = ()) -> tuple[list[Event], Damage]:
    """Every event in the log that is still true, in order, and what was damaged. CprspecError if it cannot be opened.

    Events of the kinds `without` are passed over before they cost time and memory: a long run has a million steps.
    """
    tail = LogTail(path, without=without)
    events: list[Event] = []
    while not tail.caught_up:
        events += tail.poll()
    if tail.problem is not None:
        raise CprspecError(Problem(f"{path}: cannot be read: {tail.problem}"), exit_code=1)
    return drop_superseded(events), tail.damage


def whole_lines(data: bytes) -> list[Event]:
    """The events in whole lines of a log; lines that are none are passed over."""
    tail = LogTail(Path())
    return [event for line in data.split(b"\n") if line and (event := tail._event(line)) is not None]


class LogTail:
    """Follows one log: each `poll` gives the events that were added since the last.

    A log that became shorter or was replaced is read from its start again; `generation` then grows by one, and what was
    given before is void. `problem` says why the log cannot be opened, None while it can; `caught_up`, whether the last `poll`
    found nothing more to read.

    `every` may be set at any time: of step events only each `every`-th is given from the next `poll` on. The others cost
    next to nothing, so that a log of a million steps is read in about a second; damage in them is not noticed.
    """

    def __init__(self, path: Path, *, without: Collection[type[Event]] = ()) -> None:
        self.path = path
        self._without = {kind.kind for kind in without}
        self.problem: str | None = None
        self.caught_up = False
        self.generation = 0
        self.every = 1
        self._identity: tuple[int, int] | None = None
        self._start_over()

    def _start_over(self) -> None:
        self.damage = Damage()
        self._offset = 0
        self._line = 0
        self._pending = b""
        self._skipping = False
        self._steps = 0

    def poll(self, budget: int = READ_BUDGET) -> list[Event]:
        """The events in the next `budget` bytes: none where these are all damage, and none once it has `caught_up`."""
        data = self._read(budget)
        at_end = len(data) < budget
        self.caught_up = at_end and b"\n" not in data
        events = list(self._lines(data))
        if at_end or b"\n" in data:
            # Half a line is read again, not kept: the next attempt cuts off what a killed one left of it.
            self._offset -= len(self._pending)
            self._pending = b""
        return events

    def _read(self, budget: int) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino)
                if self._identity is not None and (identity != self._identity or status.st_size < self._offset):
                    self._start_over()
                    self.generation += 1
                self._identity = identity
                data = os.pread(file.fileno(), budget, self._offset)
        except OSError as error:
            self.problem = error.strerror or str(error)
            return b""
        self.problem = None
        self._offset += len(data)
        return data

    def _lines(self, data: bytes) -> Iterator[Event]:
        *whole, rest = (self._pending + data).split(b"\n")
        self._pending = rest
        for line in whole:
            self._line += 1
            if self._skipping:
                self._skipping = False  # the end of a line that was too long; counted when it grew so
                continue
            if self.every > 1 and line.startswith(_STEP_LINE):
                self._steps += 1
                if self._steps % self.every:
                    continue
            if (event := self._event(line)) is not None:
                yield event
        if self._skipping:
            self._pending = b""
        elif len(self._pending) > MAX_LINE:
            self.damage.add(self._line + 1, "longer than a line can be")
            self._skipping, self._pending = True, b""

    def _event(self, line: bytes) -> Event | None:
        if len(line) > MAX_LINE:
            self.damage.add(self._line, "longer than a line can be")
            return None
        try:
            data = _DECODER.decode(line.decode("utf-8"))
            return self._structure(data)
        except RecursionError:
            self.damage.add(self._line, "nested too deep")
        except UnicodeDecodeError:
            self.damage.add(self._line, "not UTF-8")
        except ValueError as error:
            self.damage.add(self._line, _reason(error))
        return None

    def _structure(self, data: object) -> Event | None:
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            raise NoEventError("no event")
        kind = data["kind"]
        if kind in self._without:
            return None
        if kind not in _READERS:
            self.damage.unknown += kind != HEADER_KIND
            return None
        return _READERS[kind].read(data)


def drop_superseded(events: Sequence[Event]) -> list[Event]:
    """`events` without the steps, epochs and phases that a later attempt made again, or went back to make again."""
    positions: dict[str, int] = {}
    limits: dict[int, int] = {}
    lowest: dict[tuple[type[Event], str], int] = {}
    kept: list[Event] = []
    for event in events:
        if isinstance(event, PhaseStarted):
            positions[event.phase] = event.position
    # Backwards, so that each event meets every `resumed` that came after it.
    for event in reversed(events):
        if isinstance(event, Resumed):
            position = positions.get(event.phase, -1)
            limits[position] = min(event.from_step, limits.get(position, event.from_step))
        if isinstance(event, Step | Epoch):
            # An attempt that found no checkpoint begins at step 0 without having resumed anything.
            key = (type(event), event.phase)
            if event.step >= lowest.get(key, event.step + 1):
                continue
            lowest[key] = event.step
        if not _superseded(event, positions, limits):
            kept.append(event)
    return kept[::-1]


def _superseded(event: Event, positions: dict[str, int], limits: dict[int, int]) -> bool:
    """Whether an attempt after `event` went back to before it; `limits`: lowest first step by the phase's position."""
    if not isinstance(event, Step | Epoch | PhaseStarted | PhaseFinished):
        return False
    position = positions.get(event.phase, -1)
    if any(limit_position < position for limit_position in limits):
        return True
    if position not in limits:
        return False
    if isinstance(event, Step):
        return event.step >= limits[position]
    if isinstance(event, Epoch):
        return event.step > limits[position]
    return isinstance(event, PhaseFinished)


class NoEventError(ValueError):
    """A line that is JSON and no event; its text is the reason."""


def _reason(error: ValueError) -> str:
    return str(error) if isinstance(error, NoEventError) else "not JSON"


def _not_a_number(word: str) -> NoReturn:
    raise NoEventError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_not_a_number)
"""Made once: `json.loads` with an option makes one for each line, which takes longer than the line."""

Check = Callable[[Any], bool]


def _is_int(value: object) -> bool:
    # JSON may hold integers that no other program would take.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_int(value)


_CHECKS: dict[Any, Check] = {
    int: _is_int,
    int | None: lambda v: v is None or _is_int(v),
    float: _is_number,
    float | None: lambda v: v is None or _is_number(v),
    str: lambda v: isinstance(v, str),
    str | None: lambda v: v is None or isinstance(v, str),
    bool: lambda v: isinstance(v, bool),
    tuple[str, ...]: lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
}


@frozen
class _Reader:
    """Makes one class of event from a line's data."""

    kind: type[Event]
    checks: tuple[tuple[str, Check, bool], ...]
    since_later: frozenset[str]
    """Fields with a default: logs from before there were such fields are without them."""

    @classmethod
    def of(cls, kind: type[Event]) -> _Reader:
        types = get_type_hints(kind)
        return cls(
            kind,
            tuple((f.name, _CHECKS[types[f.name]], types[f.name] == tuple[str, ...]) for f in fields(kind)),
            frozenset(f.name for f in fields(kind) if f.default is not NOTHING and f not in fields(Event)),
        )

    def read(self, data: dict[str, Any]) -> Event:
        values: dict[str, Any] = {}
        for name, check, is_tuple in self.checks:
            if name not in data:
                if name in self.since_later:
                    continue
                raise NoEventError(f"'{self.kind.kind}' without '{name}'")
            value = data[name]
            if not check(value):
                raise NoEventError(f"'{name}' of '{self.kind.kind}' is no such value")
            values[name] = tuple(value) if is_tuple else value
        return self.kind(**values)


_READERS = {kind.kind: _Reader.of(kind) for kind in EVENTS}
