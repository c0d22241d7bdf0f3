"""Faults on purpose, so that tests can make a run suffer what machines do. Inert unless `CPRSPEC_FAULT` is set.

    CPRSPEC_FAULT=RANK:STEP:KIND[:PLACE[:PHASE]],...        1:37:kill    0:5:nan    0:8:kill:save    1:3:hang:wait:cycle

The rank suffers it once, when it reaches that step of a phase (of PHASE, or of the first that gets so far) at that place.

KIND  kill, term, int, segv, stop, usr1 ...  sends itself this signal
      hang                                   never goes on, and holds no lock while it does
      error                                  raises an error that nobody expects
      nan                                    the loss becomes not a number
      full-disk                              no file of this process can grow beyond 4 KiB any more
      full-memory                            takes what memory it can get, of which 64 MiB more than it has
PLACE step (default)  before the step's work           wait  before it asks for the step's clips
      loss            when the loss is known           save  in the middle of writing a checkpoint of that step
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path

from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean

VARIABLE = "CPRSPEC_FAULT"
PLACES = ("step", "wait", "loss", "save")
_OTHERS = ("hang", "error", "nan", "full-disk", "full-memory")

_suffered: set[Fault] = set()
_taken: list[bytearray] = []


@frozen
class Fault:
    """One thing to suffer: who, at which step of which phase (None: any), what, and where within the step."""

    rank: int
    step: int
    kind: str
    place: str
    phase: str | None


class InjectedError(Exception):
    """What `error` raises."""


def read_faults(text: str) -> tuple[Fault, ...]:
    """The faults that the variable asks for. CprspecError where it is none."""
    return tuple(_fault(part) for part in text.split(",") if part)


def strike(place: str, *, rank: int, step: int, phase: str) -> bool:
    """Suffer what was asked for here, if anything was. Whether the caller shall take its loss for not a number."""
    if not (text := os.environ.get(VARIABLE)):
        return False
    spoiled = False
    for fault in read_faults(text):
        here = (fault.rank, fault.step, fault.place) == (rank, step, place) and fault.phase in (None, phase)
        if here and fault not in _suffered:
            _suffered.add(fault)
            spoiled = _suffer(fault.kind) or spoiled
    return spoiled


def _fault(part: str) -> Fault:
    fields = part.split(":")
    if not (3 <= len(fields) <= 5 and fields[0].isdecimal() and fields[1].isdecimal()):
        raise _malformed(part)
    kind = fields[2]
    place = fields[3] if len(fields) > 3 and fields[3] else "loss" if kind == "nan" else "step"
    if place not in PLACES or (kind not in _OTHERS and not hasattr(signal, f"SIG{kind.upper()}")):
        raise _malformed(part)
    return Fault(int(fields[0]), int(fields[1]), kind, place, fields[4] if len(fields) > 4 else None)


def _malformed(part: str) -> CprspecError:
    message = f"{VARIABLE}: '{clean(part, MAX_ECHO)}' is no fault"
    return CprspecError(Problem(message, hint="write RANK:STEP:KIND[:PLACE[:PHASE]], as in 1:37:kill"))


def _suffer(kind: str) -> bool:
    if kind == "nan":
        return True
    if kind == "error":
        raise InjectedError(f"asked for by {VARIABLE}")
    if kind == "hang":
        while True:
            threading.Event().wait()
    if kind == "full-disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return False
    if kind == "full-memory":
        _take_memory()
        return False
    os.kill(os.getpid(), getattr(signal, f"SIG{kind.upper()}"))
    return False


def _take_memory(more: int = 2**26, smallest: int = 2**14) -> None:
    """Take all memory there is, in blocks of at least `smallest` bytes: a limit is set `more` bytes above what is mapped."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
    size = more
    while size >= smallest:
        try:
            _taken.append(bytearray(b"x") * size)
        except MemoryError:
            size //= 2
