"""A rank's sign of life: `ranks/N.json` from a thread, and its own talk in `logs/rankN.log`.

The thread only reads what the training thread sets, so it changes no result. It also says for how long the rank has waited for
the others, since that is what they do when one rank hangs.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from attrs import evolve

from cprspec.errors import CprspecError, clean
from cprspec.learning.ranks import Ranks
from cprspec.runs.files import atomic_write_json, is_gone, write_failed
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import END, START, RankState
from cprspec.training.signals import Stopped
from cprspec.training.waited import Waited

PULSE_S = 2.0
"""Time between two heartbeats, seconds."""

log = logging.getLogger("cprspec")
"""Where a process talks to its own log file; `logs/rankN.log` in a rank."""


class Pulse:
    """Where this rank is. `at` is called by the training thread as often as it likes: it only sets fields."""

    def __init__(self, run: RunDir, ranks: Ranks) -> None:
        self._run, self._device, self._many = run, ranks.device, ranks.world > 1
        self._state = RankState(rank=ranks.rank, pid=os.getpid(), host=socket.gethostname())
        self._since = time.monotonic()
        self._cpu, self._measured = time.process_time(), time.monotonic()
        self._waited = Waited(threading.get_ident()) if self._many else None
        self._hurry, self._closed = threading.Event(), False
        self._path = run.rank(ranks.rank)
        self.beat()
        self._thread = threading.Thread(target=self._go_on, daemon=True, name="pulse")
        self._thread.start()

    def at(self, stage: str, file: Path | None = None) -> None:
        """The rank is now in `stage`, with `file`."""
        if self._state.stage == START:
            self._hurry.set()  # the launcher ends ranks that have not begun, instead of letting them save
        self._state = evolve(self._state, stage=stage, file=None if file is None else str(file))
        self._since = time.monotonic()

    def place(self, phase: str | None, epoch: int | None = None, step: int | None = None) -> None:
        """The rank works on this step of a phase."""
        self._state = evolve(self._state, phase=phase, epoch=epoch, step=step)

    def where(self) -> str:
        """In words, with the rank's number where there are several."""
        return (f"on rank {self._state.rank}, " if self._many else "") + self._state.where()

    def beat(self) -> None:
        """Write the file now. CprspecError where that cannot be done."""
        now, cpu = time.monotonic(), time.process_time()
        passed = now - self._measured
        cores = (cpu - self._cpu) / passed if passed > 0.1 else None
        self._cpu, self._measured = cpu, now
        gpu_gib, gpu_use = _gpu(self._device)
        peers_s = self._waited.look(self._since) if self._waited else 0.0
        state = evolve(
            self._state, stage_s=now - self._since, peers=peers_s > 0, peers_s=peers_s,
            rss_gib=_resident_gib(), cpu_cores=cores, gpu_gib=gpu_gib, gpu_use=gpu_use, heartbeat=time.time(),
        )  # fmt: skip
        atomic_write_json(self._path, state.to_json(), durable=False)

    def close(self, *, failed: bool) -> None:
        """Say that the rank leaves, or where it failed, and beat no more."""
        self._closed = True
        self._hurry.set()
        self._thread.join()
        if not failed:
            self.at(END)
        if not is_gone(self._run.path):
            with suppress(CprspecError):  # of a full disk: the run has said so
                self.beat()

    def _go_on(self) -> None:
        missed = False
        while True:
            self._hurry.wait(PULSE_S)
            self._hurry.clear()
            if self._closed or is_gone(self._run.path):
                return  # a removed or moved run would be made anew by writing
            try:
                self.beat()
                missed = False
            except (CprspecError, OSError, MemoryError) as error:
                # A full disk, or a network that is away for a moment: who falls silent for good is taken for dead.
                if not missed:
                    log.warning("no sign of life could be written: %s", error)
                missed = True


@contextmanager
def pulse(run: RunDir, ranks: Ranks, *, crashes: bool) -> Iterator[Pulse]:
    """This rank's sign of life and its log file, until the context ends.

    `crashes`: where Python code was when the process crashes goes to the log file, too, instead of to the terminal.
    """
    path = run.log(ranks.rank)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise write_failed(path, error) from error
    handler.setFormatter(_Lines("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # it is a file's, not the terminal's
    try:
        log.info(
            "rank %d of %d, pid %d on %s, %s", ranks.rank, ranks.world, os.getpid(), socket.gethostname(), ranks.device
        )
        if crashes:
            faulthandler.enable(crashed := path.open("a"))
        alive = Pulse(run, ranks)
        failed = True
        try:
            yield alive
            failed = False
        except Stopped as stopped:
            failed = False
            log.info("stopped by %s", signal.Signals(stopped.number).name)
            raise
        except BaseException as error:
            log.error("%s: %s", type(error).__name__, error, exc_info=not isinstance(error, CprspecError))
            raise
        finally:
            alive.close(failed=failed)
    finally:
        if crashes:
            faulthandler.disable()
            crashed.close()
        log.removeHandler(handler)
        handler.close()


class _File(logging.FileHandler):
    """A log file that costs nothing when the disk is full: the run itself says that."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        """Nothing."""


class _Lines(logging.Formatter):
    """One line for each line of a record, each with time and level, and safe for a terminal."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        parts = [record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        head = f"{self.formatTime(record, self.datefmt)}Z {record.levelname} "
        return "\n".join(head + clean(line) for part in parts for line in part.splitlines())


def _resident_gib() -> float | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None  # not Linux
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def _gpu(device: torch.device) -> tuple[float | None, float | None]:
    """Memory that tensors hold, GiB, and the share of time in which the GPU was busy."""
    if device.type != "cuda":
        return None, None
    gib = torch.cuda.memory_reserved(device) / 2**30
    try:
        return gib, torch.cuda.utilization(device) / 100
    except Exception:  # noqa: BLE001 - NVIDIA's library is not always there, and has errors of its own where a GPU does not count
        return gib, None
