"""One TOML file, read defensively: its data and the place of every key, or one located error.

An experiment or a card may come from anywhere, so a size limit, regular files only, and strict UTF-8 stand before the
parser sees anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli
from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.positions import KeyPath, find_positions

MAX_BYTES = 1 << 20
"""Largest file that is read, bytes."""


@frozen
class Document:
    """A parsed TOML text: `data` as Python values, `places` of its key paths, and what to call it in messages."""

    data: dict[str, Any]
    places: Mapping[KeyPath, Place]
    file: str


def read_document(path: Path) -> Document:
    """The TOML file at `path`. Raises CprspecError that names the file, and the line where there is one."""
    return parse_document(read_text(path), str(path))


def parse_document(text: str, file: str) -> Document:
    """`text` as TOML; `file` is its name in messages."""
    places = find_positions(text, file)
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        problem = Problem(f"not valid TOML: {_first_small(error.msg)}", Place(file, error.lineno, error.colno))
        raise CprspecError(problem) from None
    except (ValueError, RecursionError) as error:  # a number of a million digits, for one
        raise CprspecError(Problem(f"not valid TOML: {clean(str(error), MAX_ECHO)}", Place(file))) from None
    return Document(data, places, file)


def read_text(path: Path) -> str:
    """The text of a regular file of at most MAX_BYTES in UTF-8."""
    place = Place(str(path))
    try:
        # without O_NONBLOCK the opening of a named pipe would wait for ever
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CprspecError(Problem(f"cannot be read: {_first_small(reason)}", place)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise CprspecError(Problem("not a regular file", place, "expected a TOML file"))
    with os.fdopen(handle, "rb") as file:
        try:
            raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CprspecError(Problem(f"cannot be read: {error.strerror}", place)) from None
    if len(raw) > MAX_BYTES:
        raise CprspecError(Problem(f"larger than {MAX_BYTES} bytes", place, "an experiment is a few kilobytes"))
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line_start = raw.rfind(b"\n", 0, error.start) + 1
        column = len(raw[line_start : error.start].decode("utf-8", "replace")) + 1
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text: byte 0x{raw[error.start]:02x}"
        raise CprspecError(Problem(message, Place(str(path), line, column))) from None


def _first_small(text: str) -> str:
    text = clean(text, MAX_ECHO)
    return text[:1].lower() + text[1:]
