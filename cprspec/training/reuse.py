"""Finished phases and evaluations are not made twice: one with the same fingerprint, in any run of the folder, is copied.

A phase's copy holds the last checkpoint and the mining tables, so that the run stands alone when it is moved elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from cprspec.errors import CprspecError
from cprspec.runs.files import (
    atomic_write_bytes,
    atomic_write_json,
    make_durable_folder,
    sync_folder,
    sync_tree,
    write_failed,
)
from cprspec.runs.layout import STRIPS, RunDir
from cprspec.training import checkpoint

FINISHED = "phase.json"
"""Written into a phase's folder when it is finished."""


@frozen
class Finished:
    """A finished phase on disk."""

    folder: Path
    facts: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The folder of its last checkpoint."""
        return self.folder / "checkpoints" / str(self.facts["checkpoint"])


def finished_phase(folder: Path, fingerprint: str) -> Finished | None:
    """The finished phase in `folder`, if there is one with this fingerprint whose checkpoint verifies."""
    try:
        facts = json.loads((folder / FINISHED).read_text())
        if facts["fingerprint"] != fingerprint:
            return None
        found = Finished(folder, facts)
        checkpoint.load(found.checkpoint)
    except (OSError, ValueError, KeyError, TypeError, CprspecError):
        return None  # unfinished, damaged, or being written: it is trained instead
    return found


def find_finished(runs: Path, fingerprint: str, not_in: Path) -> Iterator[Finished]:
    """The finished phases with `fingerprint` in any run below `runs` but `not_in`, newest first."""
    dated = []
    for facts in runs.glob(f"*/*/phases/*/{FINISHED}"):
        if facts.parent.name.startswith(".") or facts.parent.parent.parent == not_in:
            continue  # a copy that another run is making, or this run itself
        with suppress(OSError):  # removed meanwhile: then it is not there to be reused
            dated.append((facts.stat().st_mtime, facts))
    for _, facts in sorted(dated, reverse=True):
        if found := finished_phase(facts.parent, fingerprint):
            yield found


def copy_phase(found: Finished, folder: Path, name: str, strips: bool = True) -> Finished | None:
    """Copy a finished phase into `folder` under its `name` there, saying where it came from; None if it went away.

    `strips`: also the pictures of what was mined. CprspecError, with what is free, where the copy cannot be written: to
    train the phase instead would take hours, and as much room.
    """
    origin = found.folder.parent.parent
    working = folder.parent / f".{folder.name}.copy"
    facts = {**found.facts, "name": name, "reused_from": f"{origin.parent.name}/{origin.name}"}
    with _naming_copy(found, folder, name, working):
        make_durable_folder(folder.parent)
        try:
            for path in _files_of(found, strips):
                atomic_write_bytes(working / path.relative_to(found.folder), path.read_bytes(), durable=False)
        except OSError:  # of reading: what cannot be written is a CprspecError
            shutil.rmtree(working, ignore_errors=True)
            return None
        # All at once, and before the file that says that it is finished: a power cut leaves the copy whole, or no copy.
        sync_tree(working)
        atomic_write_json(working / FINISHED, facts)
        shutil.rmtree(folder, ignore_errors=True)
        working.rename(folder)
        sync_folder(folder.parent)
    return Finished(folder, facts)


def _files_of(found: Finished, strips: bool) -> list[Path]:
    """What a copy has: the last checkpoint and what was mined. OSError where the checkpoint is gone."""
    mined = [path for path in (found.folder / "mining").rglob("*") if path.is_file()]
    return [*found.checkpoint.iterdir(), *(path for path in mined if strips or path.parent.name != STRIPS)]


@contextmanager
def _naming_copy(found: Finished, folder: Path, name: str, working: Path) -> Iterator[None]:
    """Begin without `working`; what cannot be written is said with what was copied, and nothing of it is left."""
    shutil.rmtree(working, ignore_errors=True)
    try:
        yield
    except (OSError, CprspecError) as error:
        shutil.rmtree(working, ignore_errors=True)
        problem = (write_failed(folder, error) if isinstance(error, OSError) else error).problems[0]
        message = f"finished phase '{name}' cannot be copied from {found.folder}: {problem.message}"
        raise CprspecError(evolve(problem, message=message), exit_code=1) from error


def write_evaluation(path: Path, facts: Mapping[str, Any], tensors: bytes | None) -> None:
    """Write what an evaluation found, the tensors beside it first: the JSON file says that it is finished."""
    if tensors is not None:
        atomic_write_bytes(path.with_suffix(".safetensors"), tensors)
    digest = None if tensors is None else hashlib.sha256(tensors).hexdigest()
    atomic_write_json(path, {"reused_from": None, **facts, "tensors_sha256": digest})


def copy_evaluation(runs: Path, name: str, fingerprint: str, run: RunDir) -> dict[str, Any] | None:
    """Copy the newest results of the evaluation `name` with `fingerprint` in any run below `runs`; None: none has them."""
    found = [path for path in runs.glob(f"*/*/evaluations/{name}.json") if path != run.evaluation(name)]
    for path in sorted(found, key=lambda path: path.parent.parent.name, reverse=True):
        try:
            facts = json.loads(path.read_bytes())
            if facts["fingerprint"] != fingerprint:
                continue
            digest = facts["tensors_sha256"]
            tensors = None if digest is None else path.with_suffix(".safetensors").read_bytes()
            if tensors is not None and hashlib.sha256(tensors).hexdigest() != digest:
                continue
            origin = facts.get("reused_from") or "/".join(path.parts[-4:-2])
            facts = {**facts, "reused_from": origin, "records": list(facts["records"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # unfinished, damaged, or of an older version: it is made again
        write_evaluation(run.evaluation(name), facts, tensors)
        return facts
    return None
