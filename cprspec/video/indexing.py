"""The pass over a collection that makes its index: on all cores, only what changed, and going on where it was stopped.

Records are appended to a working file as they come and merged into the index at the end, sorted by name; killed at any
moment, the next pass keeps what is there. Only positions are held in memory. No file of the collection is written.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, field, frozen

from cprspec.data.index import Entry
from cprspec.data.index_file import IndexFile, cannot_write, header_line, replacing
from cprspec.data.records import Record, to_line
from cprspec.errors import CprspecError, Place, Problem
from cprspec.video import limits
from cprspec.video.inspect import Job, look_at
from cprspec.video.spread import Died, spread

Progress = Callable[[int, int], None]

MAX_TOLD = 1000
"""How many bad files a summary holds; the index holds them all."""


@frozen(kw_only=True)
class Made:
    """What a pass found: files that are named, of these looked at now and usable, and the bad ones by class.

    `bad` are the records of the first `MAX_TOLD`; `mended` are usable videos in which a frame is corrupt.
    """

    index: Path
    files: int
    looked_at: int
    usable: int
    frames: int
    mended: int
    flaws: dict[str, int] = field(factory=dict)
    bad: tuple[Record, ...] = ()


def make_index_file(
    entries: Sequence[Entry],
    root: Path,
    index: Path,
    dataset: str,
    *,
    digest: bool = True,
    retry: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Made:
    """Have an index of the files that `entries` name under `root`, and say what it holds.

    A file whose size and time of change are those of its record is not looked at again, unless it has no digest and
    `digest` asks for one, or it is bad and `retry` asks for another look. `progress` hears (files done, files to do).
    """
    working = index.with_name(f"{index.name}.part")
    with _alone(working) as stream:
        with _known(index, working, stream, dataset) as known:
            jobs = [
                Job(root / e.name, e.name, digest)
                for e in entries
                if not _holds(known(e.name), root / e.name, digest, retry)
            ]
        for done, record in enumerate(look_at_all(jobs, processes), start=1):
            _append(working, stream, to_line(record))
            if progress:
                progress(done, len(jobs))
        with _known(index, working, stream, dataset) as known:
            made = _merge(entries, index, dataset, known)
        working.unlink(missing_ok=True)
    return evolve(made, looked_at=len(jobs))


def look_at_all(jobs: Sequence[Job], processes: int | None = None) -> Iterator[Record]:
    """The record of each file, as they come; one that kills its process, or that the kernel's limits end, is bad."""
    get_context("forkserver").set_forkserver_preload([look_at.__module__])
    count = min(processes or os.cpu_count() or 1, len(jobs))
    for job, outcome in spread(look_at, jobs, count, begin=limits.limit_time_and_memory) if jobs else ():
        yield _dead(job, outcome.exitcode) if isinstance(outcome, Died) else outcome


def _dead(job: Job, exitcode: int) -> Record:
    try:
        facts = job.path.stat()
    except OSError:
        size, mtime_ns = None, None
    else:
        size, mtime_ns = facts.st_size, facts.st_mtime_ns
    return Record(name=job.name, size=size, mtime_ns=mtime_ns, sha256=None, flaw=limits.flaw_of_death(exitcode))


def _holds(record: Record | None, path: Path, digest: bool, retry: bool) -> bool:
    """Whether the record still tells what a look at the file would."""
    if record is None or (retry and record.flaw is not None):
        return False
    if digest and record.video is not None and record.sha256 is None:
        return False
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return record.size is None
    return (facts.st_size, facts.st_mtime_ns) == (record.size, record.mtime_ns)


@contextmanager
def _alone(working: Path) -> Iterator[BinaryIO]:
    """The working file, open to read and append, while no other process has it. CprspecError if one does."""
    try:
        working.parent.mkdir(parents=True, exist_ok=True)
        stream = working.open("a+b")
    except OSError as error:
        raise cannot_write(working, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            another = working.stat().st_ino != os.fstat(stream.fileno()).st_ino  # it was finished between the two lines
        except OSError:
            another = True
        if another:
            raise CprspecError(Problem("another process is making this index", Place(str(working))), exit_code=1)
        yield stream


@contextmanager
def _known(index: Path, working: Path, stream: BinaryIO, dataset: str) -> Iterator[Callable[[str], Record | None]]:
    """What earlier passes found of a file, by its name: in the working file of one that was stopped, else in the index.

    A torn last line of the working file is cut off.
    """
    stream.seek(0)
    whole = stream.read().rfind(b"\n") + 1
    stream.truncate(whole)
    if not whole:
        _append(working, stream, header_line(dataset))
    with ExitStack() as files:
        found = [files.enter_context(IndexFile.open(path)) for path in (working, index) if path.exists()]
        yield lambda name: next((record for file in found if (record := file.record(name)) is not None), None)


def _append(working: Path, stream: BinaryIO, line: str) -> None:
    try:
        stream.write(line.encode("ascii"))
        stream.flush()
    except OSError as error:
        raise cannot_write(working, error) from error


def _merge(entries: Sequence[Entry], index: Path, dataset: str, known: Callable[[str], Record | None]) -> Made:
    """Write the index from what is known of each entry, and count."""
    flaws: Counter[str] = Counter()
    bad: list[Record] = []
    frames = mended = 0
    with replacing(index) as stream:
        stream.write(header_line(dataset))
        for entry in entries:
            record = known(entry.name)
            assert record is not None
            stream.write(to_line(record.described(entry)))
            if record.flaw is not None:
                flaws[record.flaw.defect.value] += 1
                bad += [record] if len(bad) < MAX_TOLD else []
            elif record.video is not None:
                frames += record.video.frames
                mended += record.video.corrupt > 0
    return Made(
        index=index, files=len(entries), looked_at=0, usable=len(entries) - flaws.total(), frames=frames, mended=mended,
        flaws=dict(sorted(flaws.items())), bad=tuple(bad),
    )  # fmt: skip
