"""What an unfinished evaluation keeps in its work folder, so that a later attempt does not do it again.

A file is the sha256 of what follows, 32 bytes, then safetensors; it is replaced as a whole, and one that was damaged counts as
missing. Rank 0 writes; every rank reads, and all of them find the same or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from cprspec.learning.ranks import SAVING_H, Ranks, wait_for_all
from cprspec.runs.events import Event, Warned
from cprspec.runs.files import atomic_write_bytes

FACTS = "facts"
_DIGEST = 32


@frozen
class Kept:
    """Named sets of tensors and facts in `folder`. A name may be any text without a NUL: an encoder's has slashes."""

    folder: Path
    ranks: Ranks
    report: Callable[[Event], None]

    def put(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> None:
        """Keep `tensors`, none called `facts`, and `facts`, which JSON can say, under `name`; every rank must come here."""
        if self.ranks.first:
            encoded = bytearray(json.dumps(facts or {}).encode())
            own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
            content = to_bytes({**own, FACTS: torch.frombuffer(encoded, dtype=torch.uint8)})
            atomic_write_bytes(self._path(name), hashlib.sha256(content).digest() + content)
        wait_for_all(self.ranks, SAVING_H)

    def get(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was kept under `name`, or None; every rank must ask."""
        found = self._read(self._path(name))
        if self.ranks.any(found is None) or found is None:
            return None
        facts = json.loads(bytes(found.pop(FACTS).tolist()))
        return found, facts

    def drop(self, name: str) -> None:
        """Forget what was kept under `name`."""
        if self.ranks.first:
            self._path(name).unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Tensor] | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            self.report(Warned(message=f"{path}: damaged; what it held is done again"))
            return None
        return from_bytes(data[_DIGEST:])

    def _path(self, name: str) -> Path:
        # Names of phases, views and data sets have no "@", so no two names meet in one file.
        return self.folder / f"{name.replace('/', '@')}.kept"
