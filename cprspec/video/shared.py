"""Memory that a process shares with its data workers: the clips they fill, and a board on which each says what it reads."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import time
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cprspec.errors import CprspecError, Problem

Bytes = NDArray[np.uint8]

SHM = Path("/dev/shm")  # noqa: S108  where Linux keeps shared memory, not a file that anybody else opens
"""Where shared memory comes from; the system's temporary folder where there is no such place."""

_MIB = 2**20


class SharedBytes:
    """`size` bytes that the processes see to whom it is sent as they start. It has no name, and goes with the last of them.

    All of it is there from the beginning: what does not fit is an error now, not a SIGBUS at the first write. CprspecError.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.size = size
        self._descriptor = _reserve(size) if descriptor is None else descriptor
        self._map = mmap.mmap(self._descriptor, size)
        self.bytes: Bytes = np.frombuffer(self._map, np.uint8)

    def __reduce__(self) -> tuple[object, ...]:
        return _received, (self.size, DupFd(self._descriptor))

    def __del__(self) -> None:
        if descriptor := getattr(self, "_descriptor", 0):
            os.close(descriptor)


def _received(size: int, descriptor: Any) -> SharedBytes:
    return SharedBytes(size, descriptor.detach())


def shared_folder() -> Path:
    """Where shared memory comes from on this machine."""
    return SHM if os.access(SHM, os.W_OK) else Path(tempfile.gettempdir())


def free_bytes() -> int:
    """How much shared memory there is left."""
    return shutil.disk_usage(shared_folder()).free


def _reserve(size: int) -> int:
    """A file without a name, all of it on its file system."""
    folder = shared_folder()
    try:
        descriptor, name = tempfile.mkstemp(prefix="cprspec-", dir=folder)
        try:
            Path(name).unlink()
            os.ftruncate(descriptor, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise _full(folder, size, error) from error
    return descriptor


def _full(folder: Path, size: int, error: OSError) -> CprspecError:
    usage = shutil.disk_usage(folder)
    message = (
        f"{folder} is full: {size / _MIB:.0f} MiB of shared memory are needed for clips, and of its "
        f"{usage.total / _MIB:.0f} MiB {usage.free / _MIB:.0f} are free ({error.strerror})"
    )
    hint = (
        "make it larger (docker: --shm-size), raise accumulate or lower batch_size, of which two parts must fit, "
        "or set launch.workers=0, which needs none"
    )
    return CprspecError(Problem(message, hint=hint), exit_code=1)


class Board:
    """What each of `workers` processes is at: since when (monotonic seconds, 0: idle), and the last file it read."""

    _LINE = 1024
    _PATH = 1008

    def __init__(self, workers: int) -> None:
        self._memory = SharedBytes(workers * self._LINE)

    def begin(self, worker: int) -> None:
        """The worker begins an item."""
        self._line(worker)[:8].view(np.float64)[0] = time.monotonic()

    def rest(self, worker: int) -> None:
        """The worker has nothing to do."""
        self._line(worker)[:8].view(np.float64)[0] = 0.0

    def reads(self, worker: int, path: Path) -> None:
        """The worker now reads `path`, of which the end is kept where it is very long."""
        encoded = os.fsencode(path)[-self._PATH :]
        line = self._line(worker)
        line[16 : 16 + len(encoded)] = np.frombuffer(encoded, np.uint8)
        line[8:16].view(np.int64)[0] = len(encoded)

    def since(self, worker: int) -> float:
        """When the worker began what it is at; 0 while it rests."""
        return float(self._line(worker)[:8].view(np.float64)[0])

    def file(self, worker: int) -> Path | None:
        """The last file that the worker read."""
        line = self._line(worker)
        length = min(int(line[8:16].view(np.int64)[0]), self._PATH)
        return Path(os.fsdecode(line[16 : 16 + length].tobytes())) if length > 0 else None

    def _line(self, worker: int) -> Bytes:
        return self._memory.bytes[worker * self._LINE : (worker + 1) * self._LINE]
