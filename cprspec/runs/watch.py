"""Following a run as a stream: every event as it is written, and its silence, until the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import frozen

from cprspec.runs.events import Event
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import Status, read_status
from cprspec.runs.tail import LogTail
from cprspec.runs.telling import duration

POLL_S = 1.0
ENDED = ("finished", "failed", "stopped")

_PREPARING_EVERY_S = 5.0

_PAST_EVERY = 50
"""Of the steps before the watch began, so many are passed over for each that is given."""


@frozen
class Silence:
    """The run has not touched its status for `age_s` seconds; None: it has written none that can be read.

    `gone`: its process `pid` on this host is dead, and nobody else writes it.
    """

    age_s: float | None
    gone: bool = False
    pid: int | None = None


@frozen
class Preparing:
    """The run has so many of its videos prepared, of so many (None: not known yet); nothing is in its log of that."""

    done: int
    of: int | None


@frozen
class Caught:
    """Everything that was in the log when the watch began has been given."""


def watch(run: RunDir, sleep: Callable[[float], None] = time.sleep) -> Iterator[Event | Silence | Preparing | Caught]:
    """The events of `run` from its start (of the steps so far only some), then as they come, until its status says it ended.

    A run that falls silent says so once and is watched on: it may be continued. One whose process is dead has ended.
    """
    tail, caught, silent, told_s = LogTail(run.events), False, False, 0.0
    tail.every = _PAST_EVERY
    while True:
        status = read_status(run, [])  # before the events: an end that it tells of has its event in the log
        yield from tail.poll()
        while not tail.caught_up:
            yield from tail.poll()
        if not caught:
            caught, tail.every = True, 1
            yield Caught()
        if status.state in ENDED:
            return
        if status.state == "stale" and status.gone:
            yield Silence(status.heartbeat_age_s, gone=True, pid=status.pid)
            return
        if status.state in {"running", "starting"}:
            silent = False
            if status.preparing is not None and time.monotonic() - told_s >= _PREPARING_EVERY_S:
                told_s = time.monotonic()
                yield Preparing(*status.preparing)
        elif not silent:
            silent = True
            yield Silence(status.heartbeat_age_s)
        sleep(POLL_S)


def silence_line(silence: Silence) -> str:
    """What a person should know about a run that says nothing."""
    if silence.age_s is None:
        return "nothing heard yet: the run has written no status that can be read"
    if silence.gone:
        return f"silent for {duration(silence.age_s)}: the run was killed; its process {silence.pid} is dead"
    return f"silent for {silence.age_s:.0f} s: the run was killed, hangs, or is cut off; watching on"


def preparing_words(preparing: tuple[int, int | None]) -> str:
    """How many videos are prepared, and of how many: `94/512`."""
    done, videos = preparing
    return f"{done}/{videos or '?'}"


def status_line(status: Status) -> str:
    """The state in words: how it ended and why, or how long it has been silent."""
    age = status.heartbeat_age_s
    if status.state == "stale":
        word = "killed" if status.gone else "stale"
        return word if age is None else f"{word} {short_age(age)}"
    return status.state


def short_age(seconds: float) -> str:
    """An age in a few characters: `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
