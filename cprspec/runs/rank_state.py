"""What each rank of a run says it is doing: `ranks/N.json`, replaced every two seconds by the rank.

The launcher reads it whole or not at all; screens read what there is of it (runs/ranks.py). See docs/run-directory.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen

from cprspec.runs.layout import RunDir

SCHEMA, KIND = 1, "rank"

START, WAIT, STEP, SAVE, EVALUATE, END = "start", "wait", "step", "save", "evaluate", "end"
"""Stages: before the first step; waiting for clips; computing; writing; evaluating; done, or saved and leaving."""

_WORDS = {
    START: "starting",
    WAIT: "waiting for clips",
    STEP: "computing",
    SAVE: "saving",
    EVALUATE: "evaluating",
    END: "leaving",
}


@frozen(kw_only=True)
class RankState:
    """One rank. `file`: what it waits for or reads; `stage_s`: how long it has been in `stage`, seconds.

    `peers`: it waits for other ranks, and has for `peers_s` seconds. `cpu_cores`: cores that were busy with it since the last
    heartbeat. `heartbeat`: unix seconds. The GPU's figures are None where there is none, or nobody knows.
    """

    rank: int
    pid: int
    host: str
    phase: str | None = None
    epoch: int | None = None
    step: int | None = None
    stage: str = START
    file: str | None = None
    stage_s: float = 0.0
    peers: bool = False
    peers_s: float = 0.0
    rss_gib: float | None = None
    cpu_cores: float | None = None
    gpu_gib: float | None = None
    gpu_use: float | None = None
    heartbeat: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"schema": SCHEMA, "kind": KIND, **asdict(self)}

    def where(self) -> str:
        """In words: "in phase 'rgb', step 37, waiting for clips, in: FILE"."""
        parts = [f"in phase '{self.phase}'"] if self.phase is not None else []
        parts += [f"step {self.step}"] if self.step is not None else []
        parts.append(stage_words(self.stage, peers=self.peers))
        parts += [f"in: {self.file}"] if self.file is not None else []
        return ", ".join(parts)


def stage_words(stage: str, *, peers: bool) -> str:
    """A stage as people say it; `peers`: the rank waits for others in it."""
    return "waiting for the other ranks" if peers else _WORDS.get(stage, stage)


def read_rank(path: Path) -> RankState | None:
    """What stands in one file, or None where there is nothing that can be read."""
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict) or found.get("kind") != KIND:
            return None
        known = {f.name: found[f.name] for f in fields(RankState) if f.name in found}
        state = RankState(**known)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return state if all(_fits(f.type, getattr(state, f.name)) for f in fields(RankState)) else None


def read_ranks(run: RunDir) -> dict[int, RankState]:
    """Every rank of the run that can be read, by its number. Ranks of an earlier attempt stay until they are replaced."""
    try:
        paths = [*run.rank(0).parent.glob("*.json")]
    except OSError:
        return {}  # a network file system that is away for a moment
    found = (read_rank(path) for path in paths)
    return {state.rank: state for state in sorted((s for s in found if s), key=lambda s: s.rank)}


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "float": (int, float), "bool": (bool,)}


def _fits(declared: object, value: object) -> bool:
    name, _, optional = str(declared).partition(" | ")
    if value is None:
        return bool(optional)
    return isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))
