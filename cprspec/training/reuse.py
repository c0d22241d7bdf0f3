"""Finished phases are not trained twice: one with the same fingerprint, in any run of the folder, is copied.

The copy holds the last checkpoint and the mining tables, so that the run stands alone when it is moved elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from cprspec.errors import CprspecError
from cprspec.runs.files import atomic_write_json, sync_folder
from cprspec.runs.layout import STRIPS
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
        with contextlib.suppress(OSError):  # removed meanwhile: then it is not there to be reused
            dated.append((facts.stat().st_mtime, facts))
    for _, facts in sorted(dated, reverse=True):
        if found := finished_phase(facts.parent, fingerprint):
            yield found


def copy_phase(found: Finished, folder: Path, name: str, strips: bool = True) -> Finished | None:
    """Copy a finished phase into `folder` under its `name` there, saying where it came from; None if it went away.

    `strips`: also the pictures of what was mined.
    """
    origin = found.folder.parent.parent
    working = folder.parent / f".{folder.name}.copy"
    shutil.rmtree(working, ignore_errors=True)
    try:
        shutil.copytree(found.checkpoint, working / "checkpoints" / found.checkpoint.name)
        if (found.folder / "mining").is_dir():
            left_out = None if strips else shutil.ignore_patterns(STRIPS)
            shutil.copytree(found.folder / "mining", working / "mining", ignore=left_out)
    except (OSError, shutil.Error):
        shutil.rmtree(working, ignore_errors=True)
        return None
    facts = {**found.facts, "name": name, "reused_from": f"{origin.parent.name}/{origin.name}"}
    atomic_write_json(working / FINISHED, facts)
    shutil.rmtree(folder, ignore_errors=True)
    working.rename(folder)
    sync_folder(folder.parent)
    return Finished(folder, facts)
