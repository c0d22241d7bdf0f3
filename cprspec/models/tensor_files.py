"""Tensors out of the bytes of a safetensors file that nobody vouches for.

The format is data only; what a hostile file can do is ask for much memory, or say one thing twice. The library checks
offsets, shapes and overlaps; the header's length and its names are checked here, before it sees the file. Tensors are
made from bytes in memory, never from a map of the file: a file that is cut while it is mapped kills the process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

MAX_HEADER = 8 << 20
"""Longest header, bytes: names and shapes of some fifty thousand tensors."""

_LENGTH = 8


def read_tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """The tensors in `content`, which was read from `path`. CprspecError with what is wrong with it."""
    _check_header(content, path)
    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _refused(path, str(error)) from error


def _check_header(content: bytes, path: Path) -> None:
    length = int.from_bytes(content[:_LENGTH], "little")
    if content[_LENGTH : _LENGTH + 1] != b"{":
        raise _refused(path, "it does not begin as one; nothing else, pickles least of all, is ever read here")
    if length > MAX_HEADER:
        raise _refused(path, f"its header claims {length} bytes, more than {MAX_HEADER}")
    if len(content) < _LENGTH + length:
        raise _refused(path, "it is cut short within its header")
    try:
        json.loads(content[_LENGTH : _LENGTH + length], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"its header: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice}' stands there twice")
    return found


def _refused(path: Path, why: str) -> CprspecError:
    return CprspecError(Problem(f"not a safetensors file that can be read: {clean(why, MAX_ECHO)}", Place(str(path))))
