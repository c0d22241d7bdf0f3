"""Writing files that a crash never leaves half written: a temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from cprspec.errors import CprspecError, Problem

_OTHER_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What no room on the disk would mend."""


def atomic_write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data` in one step; a reader sees the old content or the new. Folders are made as needed.

    `durable` waits for the disk (file, then folder); without it a power cut may bring the old content back.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if durable:
            make_durable_folder(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise write_failed(path, error, len(data)) from error


def atomic_write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """`atomic_write_bytes` of `text` in UTF-8."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"), durable=durable)


def atomic_write_json(path: Path, data: object, *, durable: bool = True) -> None:
    """`atomic_write_bytes` of `data` as JSON, numbers that are not finite as null."""
    text = json.dumps(finite(data), ensure_ascii=True, allow_nan=False, indent=1)
    atomic_write_bytes(path, text.encode("ascii") + b"\n", durable=durable)


def make_folder(path: Path) -> None:
    """Have the folder `path`. CprspecError where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failed(path, error) from error


def is_gone(folder: Path) -> bool:
    """Whether there is no such folder any more. One that cannot be asked for just now, as on a network, is not gone."""
    try:
        return not stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def make_durable_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Have the folder `path`, and the disk know the names of those that were made for it. OSError where it cannot be made."""
    missing = list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=exist_ok)
    for folder in missing:
        with suppress(PermissionError):  # a folder of others where one may make, but not look
            sync_folder(folder.parent)


def sync_tree(folder: Path) -> None:
    """Wait until the disk has every file in `folder` and below, and every name."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """`value` with every nan and infinity in it replaced by None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def check_writable(path: Path) -> None:
    """CprspecError where the file `path` surely cannot be written; asked before what takes long. Nothing is made."""
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir():
        number = errno.EISDIR
    elif not folder.is_dir():
        number = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    else:
        return
    raise write_failed(path, OSError(number, os.strerror(number)))


def write_failed(path: Path, error: OSError, size: int | None = None) -> CprspecError:
    """The error to raise when `size` bytes could not be written to `path`: reason, and what is free where that may be why."""
    folder = next((p for p in path.parents if p.exists()), Path("/"))
    reason = error.strerror or str(error)
    needed = "" if size is None else f" {size} bytes"
    if error.errno in _OTHER_PLACE:
        return CprspecError(Problem(f"{path}: cannot write: {reason}", hint="choose another place"), exit_code=1)
    try:
        free = f"{shutil.disk_usage(folder).free} bytes are free there"
    except OSError:
        free = "is the folder still there?"
    return CprspecError(Problem(f"{path}: cannot write{needed}: {reason}", hint=free), exit_code=1)
