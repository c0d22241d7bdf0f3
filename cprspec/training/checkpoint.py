"""Checkpoints: safetensors and JSON, written whole or not at all, verified before use.

`step-000500/` holds weights.safetensors (query encoder and head: what a later phase starts from), state.safetensors
(all else that an exact resume needs), meta.json and, written last, manifest.json with the sha256 of the three. The folder
is made under a temporary name, synced, and renamed. Which ones stay is for `Keep` to say.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import save as to_bytes

from cprspec.errors import CprspecError, Place, Problem
from cprspec.models.tensor_files import read_tensors
from cprspec.runs.files import make_durable_folder, sync_folder, write_failed

SCHEMA = 1
WEIGHTS, STATE, META, MANIFEST = "weights.safetensors", "state.safetensors", "meta.json", "manifest.json"
MAX_JSON = 1 << 20
"""Bytes of the longest manifest or meta.json that is read."""


@frozen
class Checkpoint:
    """A verified checkpoint in memory: tensors on the CPU that share no memory with the files."""

    folder: Path
    weights: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    meta: dict[str, Any]


@frozen(kw_only=True)
class Keep:
    """Which checkpoints of a phase stay: the newest `last`, and of those made at an epoch's end the `best` by figure `by`."""

    last: int = 2
    best: int = 0
    by: str = "loss"

    def apply(self, checkpoints: Path) -> None:
        """Remove all others, and what a killed writer left half done. CprspecError where that cannot be done."""
        folders = in_order(checkpoints)
        figures = [(figure, folder) for folder in folders if (figure := self._figure(folder)) is not None]
        best = [folder for _, folder in sorted(figures, key=lambda pair: pair[0], reverse=self.by != "loss")]
        staying = {*folders[-self.last :], *best[: self.best]}
        try:
            for folder in (*(f for f in folders if f not in staying), *checkpoints.glob(".step-*")):
                shutil.rmtree(folder)
        except OSError as error:
            raise CprspecError(f"{checkpoints}: cannot remove old checkpoints: {error}", exit_code=1) from error

    def _figure(self, folder: Path) -> float | None:
        try:
            figures = _json(folder / META).get("figures")
        except CprspecError:
            return None  # a damaged one is not the best
        figure = figures.get(self.by) if isinstance(figures, dict) else None
        return figure if isinstance(figure, int | float) and not isinstance(figure, bool) else None


def save(
    checkpoints: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
    midway: Callable[[], object] = lambda: None,
) -> Path:
    """Write `checkpoints/step-NNNNNN` and return it; an older folder of that step is replaced.

    Tensors must be contiguous, on the CPU, each with memory of its own: `own` makes them so. `midway` is called when half
    of it is written. CprspecError, with what was needed and is free, where it cannot be written; what was there before is
    then untouched.
    """
    final = checkpoints / f"step-{step:06d}"
    working = checkpoints / f".step-{step:06d}.{os.getpid()}"
    files = {WEIGHTS: to_bytes(dict(weights)), STATE: to_bytes(dict(state))}
    files[META] = json.dumps({"schema": SCHEMA, "kind": "checkpoint", **meta}, indent=1).encode()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"schema": SCHEMA, "kind": "checkpoint-manifest", "sha256": digests}
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    try:
        shutil.rmtree(working, ignore_errors=True)
        make_durable_folder(checkpoints)
        working.mkdir()
        for name, content in files.items():
            with (working / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if name == STATE:
                midway()
        sync_folder(working)
        if final.exists():
            shutil.rmtree(final)
        working.rename(final)
        sync_folder(checkpoints)
    except OSError as error:
        shutil.rmtree(working, ignore_errors=True)
        raise write_failed(final, error, sum(len(content) for content in files.values())) from error
    return final


def load(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint. CprspecError where a file is missing, differs from the manifest, or is hostile."""
    manifest = _json(folder / MANIFEST)
    digests = manifest.get("sha256")
    content: dict[str, bytes] = {}
    for name in (WEIGHTS, STATE, META):
        path = folder / name
        try:
            if not path.is_file():
                raise CprspecError(Problem("checkpoint lacks this file", Place(str(path))))
            content[name] = path.read_bytes()
        except OSError as error:
            raise CprspecError(Problem(f"cannot be read ({error.strerror})", Place(str(path)))) from error
        digest = hashlib.sha256(content[name]).hexdigest()
        if not isinstance(digests, dict) or digest != digests.get(name):
            hint = "the file was damaged or replaced since it was written"
            raise CprspecError(Problem("sha256 differs from the checkpoint's manifest", Place(str(path)), hint))
    weights, state = (read_tensors(content[name], folder / name) for name in (WEIGHTS, STATE))
    return Checkpoint(folder, weights, state, _parse(content[META], folder / META))


def newest(checkpoints: Path) -> tuple[Checkpoint | None, list[Problem]]:
    """The newest checkpoint that verifies, and what is wrong with each newer one."""
    bad: list[Problem] = []
    for folder in reversed(in_order(checkpoints)):
        try:
            return load(folder), bad
        except CprspecError as error:
            bad += error.problems
    return None, bad


def set_aside(checkpoints: Path, found: Checkpoint | None) -> None:
    """Rename all newer ones than the `newest` that verifies to `damaged-step-NNNNNN`: they no longer count as newer.

    What was set aside by that name before is replaced.
    """
    folders = in_order(checkpoints)
    for folder in folders[folders.index(found.folder) + 1 if found else 0 :]:
        aside = folder.with_name(f"damaged-{folder.name}")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            sync_folder(checkpoints)
        except OSError as error:
            raise write_failed(aside, error) from error


def in_order(checkpoints: Path) -> list[Path]:
    """The checkpoints by their step, as a number: `step-1000000` comes after `step-999999`."""
    found = [folder for folder in checkpoints.glob("step-*") if folder.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def weights_digest(folder: Path) -> str:
    """The sha256 of a checkpoint's weights file, as its manifest states it."""
    return str(_json(folder / MANIFEST)["sha256"][WEIGHTS])


def own(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies on the CPU, each with contiguous memory of its own: what safetensors takes, and what later steps do not touch."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():  # a FIFO would hang
            raise CprspecError(Problem("checkpoint lacks this file", Place(str(path))))
        with path.open("rb") as file:
            content = file.read(MAX_JSON + 1)
    except OSError as error:
        raise CprspecError(Problem(f"cannot be read ({error.strerror})", Place(str(path)))) from error
    return _parse(content, path)


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(content) if len(content) <= MAX_JSON else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CprspecError(Problem("is no JSON of a checkpoint", Place(str(path))))
    return found
