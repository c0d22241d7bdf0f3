"""Tensors out of a weights file that nobody vouches for: recognised by its content, opened in a child process.

No pickle is ever loaded here. The child (unpickle.py) accepts only what `torch.load(weights_only=True)` does, with bounded
memory and time, and hands back safetensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from attrs import frozen
from safetensors.torch import load as from_bytes

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.weights import unpickle

MAX_BYTES = 4 << 30
"""Largest file that is opened; a CoCLR checkpoint with its optimiser is below 0.3 GiB."""

TIME_S = 300.0
"""Longest the child may take, torch's own import included."""

MEMORY_FACTOR, MEMORY_BYTES = 6, 512 << 20
"""What the child may take over an idle one: the bytes, the tensors, copies of aliases, and both again on the way out."""

ZIP = b"PK\x03\x04"
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How torch.save began before 1.6: a pickle of its own magic number."""

MAX_HEADER = 100 << 20
"""Longest safetensors header, as its format has it."""


@frozen
class Opened:
    """A file's tensors by name, `container` (`zip`, `legacy`, `safetensors`), where the state dict stood, other keys."""

    file: Path
    container: str
    wrapper: str
    tensors: dict[str, torch.Tensor]
    not_tensors: tuple[str, ...]


def open_weights(file: Path, *, time_s: float = TIME_S, memory_bytes: int = MEMORY_BYTES) -> Opened:
    """Read the tensors of `file`. CprspecError when it is no weights file, damaged, hostile, or too large."""
    size = _size(file)
    container = recognise(file, size)
    with TemporaryDirectory(prefix="cprspec-weights-") as folder:
        budget = MEMORY_FACTOR * size + memory_bytes
        _run_child(file, container, budget, folder, time_s)
        facts = json.loads((Path(folder) / "facts.json").read_text())
        tensors = from_bytes((Path(folder) / "tensors.safetensors").read_bytes())
    if not tensors:
        raise _refused(file, "it holds no tensors")
    return Opened(file, container, facts["wrapper"], _without_module(tensors), tuple(facts["not_tensors"]))


def recognise(file: Path, size: int) -> str:
    """What kind of file it is by its first bytes: `zip` or `legacy` (both torch.save's) or `safetensors`."""
    with file.open("rb") as stream:
        head = stream.read(len(LEGACY))
    if head.startswith(ZIP):
        return "zip"
    if head == LEGACY:
        return "legacy"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= MAX_HEADER:
        if 8 + length > size:
            raise _refused(file, "a safetensors file that is cut short")
        return "safetensors"
    if head[:1] == b"\x80":
        raise _refused(file, "a pickle that torch.save did not write")
    raise _refused(file, "neither written by torch.save nor safetensors")


def _size(file: Path) -> int:
    try:
        if not file.is_file():  # a FIFO or a device would hang
            raise _refused(file, "not a regular file" if file.exists() else "no such file")
        size = file.stat().st_size
        with file.open("rb"):
            pass
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from error
    if size > MAX_BYTES:
        raise _refused(file, f"larger than {MAX_BYTES >> 30} GiB")
    return size


def _run_child(file: Path, container: str, budget: int, folder: str, time_s: float) -> None:
    # -P: the folder a user stands in is no place to find modules.
    command = [sys.executable, "-P", unpickle.__file__, str(file.absolute()), container, str(budget), folder]
    try:
        done = subprocess.run(command, capture_output=True, timeout=time_s, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - our own script
    except subprocess.TimeoutExpired as error:
        raise _refused(file, f"reading it took longer than {time_s:g} s") from error
    if done.returncode < 0:
        raise _refused(file, f"the process that read it died of signal {-done.returncode}, perhaps for lack of memory")
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise _refused(file, _in_words(lines[-1]), _hint(lines[-1]))


def _in_words(line: str) -> str:
    if "can't allocate memory" in line or line.startswith("MemoryError"):
        return "it needs more memory than a file of its size may"
    return clean(line, MAX_ECHO)


def _hint(line: str) -> str | None:
    if "nsupported" not in line:
        return None
    return "it asks for Python code to be run; save the bare state dict with torch.save where you trust the file"


def _refused(file: Path, why: str, hint: str | None = None) -> CprspecError:
    return CprspecError(Problem(f"not a weights file that can be read: {why}", Place(str(file)), hint))


def _without_module(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefix that a saved DistributedDataParallel puts before every name."""
    if all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors
