"""Data workers: processes that put items of clips into shared memory, and how one that dies or hangs is told of.

They are forked from a server that has imported what they need and nothing of torch, so that they start in no time.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
from attrs import define, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.processes import die_with_parent, sheltered
from cprspec.video.shared import Board, Bytes, SharedBytes
from cprspec.video.tray import Clips, Spent, Tray

PRELOADED = ("cprspec.video.forkserver", "cprspec.video.clips")
"""What the server imports. It counts only before the first process is started that way."""

STOP_WITHIN_S = 0.5
"""Time that a worker has to leave by itself."""

LESS_MEMORY = "lower launch.workers or launch.prefetch_gib"


@frozen
class Share:
    """The items of a batch that one worker makes: rows of the batch by their keys, in slot `slot` of `size` bytes."""

    batch: int
    slot: int
    rows: int
    keys: tuple[tuple[int, Any], ...]


@frozen
class Done:
    """A share is there: the video of each row, the rooms that every item has, and those that did not fit (of one item)."""

    batch: int
    videos: tuple[tuple[int, int], ...]
    rooms: tuple[tuple[str, tuple[int, ...]], ...]
    own: dict[str, Bytes]
    spent: Spent


@frozen
class Failed:
    """An item could not be made: what is to be told, or where it is nothing expected, its name and where it happened."""

    problems: tuple[Problem, ...]
    exit_code: int
    trace: str = ""


def serve(worker: int, clips: Clips, memory: SharedBytes, slot_bytes: int, board: Board, pipe: Connection) -> None:
    """The life of a data worker: make shares until nobody wants any more."""
    die_with_parent()
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # a terminal tells the whole group; the rank decides
        signal.signal(number, signal.SIG_IGN)
    try:
        while True:
            share: Share = pipe.recv()
            block = memory.bytes[share.slot * slot_bytes : (share.slot + 1) * slot_bytes]
            pipe.send(_make(worker, clips, share, block, board))
            board.rest(worker)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _make(worker: int, clips: Clips, share: Share, block: Bytes, board: Board) -> Done | Failed:
    spent, videos, own = Spent(), [], dict[str, Bytes]()
    rooms: list[tuple[str, tuple[int, ...]]] = []
    for row, key in share.keys:
        board.begin(worker)
        tray = Tray(block, row, share.rows, lambda path: board.reads(worker, path))
        try:
            clips.read(key, tray)
        except CprspecError as error:
            return Failed(error.problems, error.exit_code)
        except MemoryError:
            where = Place(str(board.file(worker)))
            return Failed((Problem(f"data worker {worker} is out of memory", where, LESS_MEMORY),), 1)
        except Exception as error:  # noqa: BLE001  the rank tells of it
            said = clean(f"{type(error).__name__}: {error}", MAX_ECHO)
            problem = Problem(f"data worker {worker} failed: {said}", Place(str(board.file(worker))))
            return Failed((problem,), 1, traceback.format_exc())
        if tray.own and share.rows > 1:
            raise AssertionError("an item of a batch is larger than all the others")
        spent.add(tray.spent)
        videos.append((row, tray.video))
        rooms, own = tray.rooms, tray.own
    return Done(share.batch, tuple(videos), tuple(rooms), own, spent)


@define(eq=False)
class Worker:
    """One data worker as its rank sees it. `owed`: items it was asked for and has not given yet."""

    number: int
    process: BaseProcess
    pipe: Connection
    board: Board
    owed: int = 0
    heard: float = 0.0

    @classmethod
    def start(cls, number: int, clips: Clips, memory: SharedBytes, slot_bytes: int, board: Board) -> Worker:
        """Start it; it dies with its rank, or when its pipe is closed."""
        context = get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(number, clips, memory, slot_bytes, board, theirs), daemon=True, name=f"data-{number}"
        )
        with sheltered():
            process.start()
        theirs.close()
        return cls(number, process, ours, board, heard=time.monotonic())

    @property
    def file(self) -> Path | None:
        """The last file that it read."""
        return self.board.file(self.number)

    def give(self, share: Share) -> None:
        """Ask for a share."""
        if not self.owed:
            self.heard = time.monotonic()
        self.owed += len(share.keys)
        try:
            self.pipe.send(share)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.death() from error

    def take(self) -> Done:
        """What it sends. CprspecError when that is a failure, or when it died meanwhile."""
        try:
            message: Done | Failed = self.pipe.recv()
        except (EOFError, OSError) as error:  # a reset connection too: it was killed with our words unread
            raise self.death() from error
        if isinstance(message, Failed):
            failure = CprspecError(message.problems, message.exit_code)
            if message.trace:
                failure.add_note(message.trace)
            raise failure
        self.owed -= len(message.videos)
        self.heard = time.monotonic()
        return message

    def silent_s(self, now: float) -> float:
        """How long it has been at one item, seconds; 0 if nothing is owed."""
        return now - max(self.heard, self.board.since(self.number)) if self.owed else 0.0

    def death(self) -> CprspecError:
        """How it ended, and the file it last read."""
        self.process.join(STOP_WITHIN_S)
        code = self.process.exitcode
        hint = None
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            hint = (
                f"out of memory? {LESS_MEMORY}" if -code == signal.SIGKILL else "the file may be damaged: leave it out"
            )
        else:
            how = f"ended with exit code {code}"
        return self._error(f"{how} while it read", hint)

    def hangs(self, timeout_s: float) -> CprspecError:
        """It did not finish an item in time."""
        slow = "raise launch.data_timeout_s where reading is slow"
        hint = f"leave the file out, or {slow}" if self.file else f"{slow} or the machine is busy"
        return self._error(f"has not finished an item for {timeout_s:g} s; it reads", hint)

    def _error(self, what: str, hint: str | None) -> CprspecError:
        message = f"data worker {self.number} (pid {self.process.pid}) {what} {self.file or 'nothing yet'}"
        return CprspecError(Problem(message, hint=hint), exit_code=1)


def stop_workers(workers: Iterable[Worker]) -> None:
    """Close their pipes and see that they end."""
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + STOP_WITHIN_S
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()
