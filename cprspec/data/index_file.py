"""Index files: what one pass over a collection found, a line of JSON for each file, sorted by name, after a header.

A file is read line by line and looked up by offset, so that memory does not grow with what the records hold. Nothing
of it depends on when or where it was made: the same collection gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self, TextIO

from attrs import field, frozen

from cprspec.data.records import Record, from_line
from cprspec.errors import CprspecError, Place, Problem

SCHEMA = 1

BESIDE = "cprspec-index.jsonl"
"""What an index is called that lies beside the videos, in their root."""

MAX_LINE = 64 << 20
"""Longest line that is read, bytes: a video of a day has 15."""


def default_index(root: Path, cache: Path) -> Path:
    """Where the index of the collection under `root` lies: beside it if somebody put it there, else in the cache."""
    beside = root / BESIDE
    if beside.exists():
        return beside
    place = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache / "index" / f"{place}.jsonl"


@frozen(eq=False)
class IndexFile:
    """An index file, open for looking up records by name until it is closed. `damaged` are the lines that are no records."""

    path: Path
    dataset: str
    damaged: tuple[int, ...]
    _offsets: dict[str, int] = field(repr=False)
    _stream: BinaryIO = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> IndexFile:
        """Read through the file once. CprspecError if it cannot be read or is no index."""
        try:
            stream = path.open("rb")
        except OSError as error:
            raise CprspecError(Problem(f"cannot read the index ({error.strerror})", Place(str(path)))) from error
        try:
            return cls(path, *_read_through(path, stream), stream)
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        """Look nothing up any more."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, name: str) -> bool:
        return name in self._offsets

    def record(self, name: str) -> Record | None:
        """What the index says of a file; None if nothing. CprspecError where the index changed since it was opened."""
        at = self._offsets.get(name)
        if at is None:
            return None
        try:
            self._stream.seek(at)
            return from_line(self._stream.readline(MAX_LINE))
        except (OSError, ValueError) as error:
            raise CprspecError(Problem("the index changed while it was used", Place(str(self.path)))) from error

    def records(self) -> Iterator[Record]:
        """Every record, in the order of the file."""
        for name in self._offsets:
            found = self.record(name)
            assert found is not None
            yield found


def _read_through(path: Path, stream: BinaryIO) -> tuple[str, tuple[int, ...], dict[str, int]]:
    """The data set's name, the damaged lines, and where each record begins."""
    offsets: dict[str, int] = {}
    damaged: list[int] = []
    try:
        header = stream.readline(MAX_LINE)
        dataset, at, number = _header(path, header), len(header), 1
        while line := stream.readline(MAX_LINE):
            number += 1
            try:
                offsets[from_line(line).name] = at
            except ValueError:
                damaged.append(number)
            at += len(line)
    except OSError as error:
        raise CprspecError(Problem(f"cannot read the index ({error.strerror})", Place(str(path)))) from error
    return dataset, tuple(damaged), offsets


def header_line(dataset: str) -> str:
    """The first line of an index."""
    return json.dumps({"schema": SCHEMA, "kind": "index", "dataset": dataset}, separators=(",", ":")) + "\n"


def require_index(path: Path) -> None:
    """CprspecError unless `path` begins as an index does."""
    try:
        with path.open("rb") as stream:
            _header(path, stream.readline(MAX_LINE))
    except OSError as error:
        raise CprspecError(Problem(f"cannot read the index ({error.strerror})", Place(str(path)))) from error


def _header(path: Path, line: bytes) -> str:
    try:
        data = json.loads(line)
        if data["kind"] == "index" and data["schema"] >= SCHEMA:
            return str(data["dataset"])
    except (ValueError, TypeError, KeyError):
        pass
    hint = "make one with `cprspec data index`"
    raise CprspecError(Problem("not an index of videos", Place(str(path), 1), hint))


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text stream whose content replaces `path` at the end, in one step and on disk; an error leaves the old content."""
    working = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with working.open("w", encoding="ascii") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            working.replace(path)
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> CprspecError:
    """The error to raise when an index could not be written."""
    hint = "make room there, or name another file with -o"
    return CprspecError(Problem(f"cannot write the index ({error.strerror})", Place(str(path)), hint), exit_code=1)
