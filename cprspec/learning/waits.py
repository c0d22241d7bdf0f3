"""Whether this process waits for the other ranks: marked where it does, for a thread that looks on (training/pulse.py).

No frame of torch shows it on a GPU: there a collective returns at once, and the wait is where its result is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_begun: list[float] = []
"""When the wait began that is now going on, if there is one; monotonic seconds."""


@contextmanager
def waiting() -> Iterator[None]:
    """What is within, or the function below, waits for the other ranks, and does nothing else worth the name."""
    if _begun:  # within another one
        yield
        return
    _begun.append(time.monotonic())
    try:
        yield
    finally:
        _begun.clear()


def waiting_since() -> float | None:
    """When the wait began that is now going on, monotonic seconds; None if there is none."""
    return next(iter(_begun), None)
