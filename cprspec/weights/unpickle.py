"""The child process that opens an untrusted weights file: `python unpickle.py FILE CONTAINER MEMORY_BYTES FOLDER`.

It bounds its own memory first, reads only what `torch.load(weights_only=True)` accepts, and writes what it found as
safetensors and JSON into FOLDER for its parent. It runs as a plain script and imports nothing of cprspec, so that the
parent's way of finding modules does not matter. Every failure is one line on standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle  # for the name of its error: nothing is unpickled with it
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save_file

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints keep the state dict among epoch, optimiser and the like: CoCLR and CPR the first, IIC the last."""

LONGEST_REASON = 300


def limit_memory(extra_bytes: int) -> None:
    """Allow `extra_bytes` of address space over what the libraries have taken, and no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = Path("/proc/self/statm")
    if pages.exists():  # Linux; elsewhere the parent's time limit is the only one
        limit = int(pages.read_text().split()[0]) * resource.getpagesize() + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def load(file: Path, container: str) -> Any:
    """What the file holds. Given to torch as bytes, so that it never takes one for a tar archive and unpacks it."""
    content = file.read_bytes()
    if container == "safetensors":
        return from_bytes(content)
    # IIC's files hold the command line's Namespace: attributes only, no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def state_dict(loaded: Any) -> tuple[dict[str, Any], str]:
    """The mapping from names to tensors, and the key it stood under (empty: at the top)."""
    if not isinstance(loaded, dict):
        raise TypeError(f"it holds a {type(loaded).__name__} and no state dict")
    for wrapper in WRAPPERS:
        if isinstance(loaded.get(wrapper), dict):
            return loaded[wrapper], wrapper
    return loaded, ""


def separate(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The dense tensors, each with memory of its own as safetensors wants it; aliases become copies."""
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            continue
        plain = value.detach()
        if plain.layout != torch.strided or plain.is_quantized or plain.is_meta:
            raise TypeError(f"tensor {key!r} is not dense")
        whole = plain.is_contiguous() and plain.untyped_storage().nbytes() == plain.nbytes
        fresh = plain.untyped_storage().data_ptr() not in seen
        tensors[key] = plain if whole and fresh else plain.contiguous().clone()
        seen.add(tensors[key].untyped_storage().data_ptr())
    return tensors


def reason(error: BaseException) -> str:
    """The first line of an error. torch wraps what it refuses in advice to trust the file; that is left out."""
    if isinstance(error, pickle.UnpicklingError) and error.__context__ is not None:
        error = error.__context__
    line = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
    return f"{type(error).__name__}: {line}"[:LONGEST_REASON]


def main(file: str, container: str, memory_bytes: str, folder: str) -> None:
    """Read `file` and write `tensors.safetensors` and `facts.json` into `folder`."""
    torch.set_num_threads(1)  # each thread would reserve a stack
    limit_memory(int(memory_bytes))
    try:
        found, wrapper = state_dict(load(Path(file), container))
        tensors = separate(found)
        others = [str(key) for key in found if key not in tensors]
        save_file(tensors, Path(folder) / "tensors.safetensors")
        (Path(folder) / "facts.json").write_text(json.dumps({"wrapper": wrapper, "not_tensors": others}))
    except MemoryError as error:
        raise SystemExit("MemoryError: it needs more memory than a file of its size may") from error
    except Exception as error:  # torch and safetensors raise whatever comes; each is a file that cannot be read
        raise SystemExit(reason(error)) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
