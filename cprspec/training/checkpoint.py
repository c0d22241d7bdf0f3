"""Checkpoints: safetensors and JSON, written whole or not at all, verified before use.

`step-000500/` holds weights.safetensors (query encoder and head: what a later phase starts from), state.safetensors
(all else that an exact resume needs), meta.json and, written last, manifest.json with the sha256 of the three. The folder
is made under a temporary name, synced, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from cprspec.errors import CprspecError, Place, Problem

SCHEMA = 1
WEIGHTS, STATE, META, MANIFEST = "weights.safetensors", "state.safetensors", "meta.json", "manifest.json"


@frozen
class Checkpoint:
    """A verified checkpoint in memory: tensors on the CPU that share no memory with the files."""

    folder: Path
    weights: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    meta: dict[str, Any]


def save(
    checkpoints: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
) -> Path:
    """Write `checkpoints/step-NNNNNN` and return it; an older folder of that step is replaced."""
    final = checkpoints / f"step-{step:06d}"
    working = checkpoints / f".step-{step:06d}.{os.getpid()}"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    files = {WEIGHTS: to_bytes(_own(weights)), STATE: to_bytes(_own(state))}
    files[META] = json.dumps({"schema": SCHEMA, "kind": "checkpoint", **meta}, indent=1).encode()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"schema": SCHEMA, "kind": "checkpoint-manifest", "sha256": digests}
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    for name, content in files.items():
        with (working / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(working)
    if final.exists():
        shutil.rmtree(final)
    working.rename(final)
    _sync(checkpoints)
    return final


def load(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint. CprspecError where a file is missing or differs from the manifest."""
    manifest = _json(folder / MANIFEST)
    content: dict[str, bytes] = {}
    for name in (WEIGHTS, STATE, META):
        path = folder / name
        if not path.is_file():
            raise CprspecError(Problem("checkpoint lacks this file", Place(str(path))))
        content[name] = path.read_bytes()
        digest = hashlib.sha256(content[name]).hexdigest()
        if digest != manifest.get("sha256", {}).get(name):
            hint = "the file was damaged or replaced; remove the folder to go on from an earlier checkpoint"
            raise CprspecError(Problem("sha256 differs from the checkpoint's manifest", Place(str(path)), hint))
    return Checkpoint(folder, from_bytes(content[WEIGHTS]), from_bytes(content[STATE]), json.loads(content[META]))


def newest(checkpoints: Path) -> tuple[Checkpoint | None, list[Problem]]:
    """The newest checkpoint that verifies, and a warning for each newer one that does not."""
    bad: list[Problem] = []
    for folder in reversed(in_order(checkpoints)):
        try:
            return load(folder), bad
        except CprspecError as error:
            bad += [Problem(p.message, p.place, "using an earlier one", warning=True) for p in error.problems]
    return None, bad


def keep_last(checkpoints: Path, count: int) -> None:
    """Remove all but the newest `count` checkpoints, and what a killed writer left half done."""
    for folder in in_order(checkpoints)[:-count]:
        shutil.rmtree(folder)
    for folder in checkpoints.glob(".step-*"):
        shutil.rmtree(folder)


def in_order(checkpoints: Path) -> list[Path]:
    """The checkpoints by their step, as a number: `step-1000000` comes after `step-999999`."""
    found = [folder for folder in checkpoints.glob("step-*") if folder.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def weights_digest(folder: Path) -> str:
    """The sha256 of a checkpoint's weights file, as its manifest states it."""
    return str(_json(folder / MANIFEST)["sha256"][WEIGHTS])


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CprspecError(Problem(f"cannot read the checkpoint's manifest ({error})", Place(str(path)))) from error
    if not isinstance(content, dict):
        raise CprspecError(Problem("not a checkpoint's manifest", Place(str(path))))
    return content


def _own(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # safetensors refuses shared storage and wants contiguous rows.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
