"""Who writes a run, as `writer.lock` names it, and whether that process is still there. Takes no lock."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from attrs import frozen


@frozen
class Owner:
    """The process that holds a run's lock, or held it last; `since`: unix seconds."""

    pid: int
    host: str
    since: float

    @property
    def alive(self) -> bool | None:
        """Whether it is still there."""
        return alive(self.pid, self.host)


def parse_owner(text: str | bytes) -> Owner | None:
    """What stands in the file; None where that is not whole."""
    try:
        found = json.loads(text)
        return Owner(int(found["pid"]), str(found["host"]), float(found["since"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def read_owner(path: Path) -> Owner | None:
    """Who wrote its name into the file `path`; None where nobody did, or nobody can read it."""
    try:
        with path.open("rb") as file:
            return parse_owner(file.read(4096))
    except OSError:
        return None


def alive(pid: int | None, host: str | None) -> bool | None:
    """Whether a process is there; None where that cannot be known, as on another host."""
    if pid is None or pid <= 0 or host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
