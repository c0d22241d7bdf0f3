"""A resolved experiment written out again, every default filled in, so that a run can be read and repeated from it.

Resolving the text gives equal phases and fingerprints. What all phases share stands in the top-level tables; what they
do not share stands whole in each phase, so that no reader has to merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tomli_w

from cprspec.spec.by_epoch import plain
from cprspec.spec.kinds import Component, fields_of
from cprspec.spec.schema import FORMAT, Clip, Launch, Phase, Published, Resolved, WeightsFile

_SCALARS = ("batch_size", "accumulate", "precision")
_COMPONENTS = ("augment", "framework", "optimizer", "schedule")


def to_toml(resolved: Resolved) -> str:
    """The resolved experiment as the text of an experiment file. Folders and weights files are absolute."""
    return tomli_w.dumps(to_table(resolved))


def to_table(resolved: Resolved) -> dict[str, Any]:
    """The resolved experiment as the table of an experiment file: tables, arrays, text and numbers only."""
    phases = resolved.phases
    table: dict[str, Any] = {
        "format": FORMAT,
        "name": resolved.name,
        "seed": resolved.seed,
        "train_on": resolved.train_on,
    }
    shared = {key: getattr(phases[0], key) for key in _SCALARS if _one_value(phases, key)}
    table |= shared
    table["dataset"] = {name: _dataset(resolved, name) for name in resolved.datasets}
    table["view"] = {n: _component(v, resolved.cards[f"view.{n}"]) for n, v in resolved.views.items()}
    table["backbone"] = _component(phases[0].backbone, resolved.cards["backbone"])
    if _one_value(phases, "clip"):
        shared["clip"] = table["clip"] = _options(phases[0].clip)
    for kind in _COMPONENTS:
        if _one_value(phases, kind) and len({resolved.cards[f"phase.{p.name}.{kind}"] for p in phases}) == 1:
            shared[kind] = table[kind] = _of_phase(resolved, phases[0], kind)
    mining = [p for p in phases if p.miner is not None]
    if mining and _one_value(mining, "miner") and all(p.mine_with for p in mining):
        shared["miner"] = table["miner"] = _of_phase(resolved, mining[0], "miner")
    table["phase"] = {p.name: _phase(resolved, p, shared) for p in phases}
    evaluate = resolved.evaluate.items()
    table["evaluate"] = {n: _component(e, resolved.cards[f"evaluate.{n}"]) for n, e in evaluate}
    table["published"] = [_options(p) for p in resolved.published]
    table["launch"] = _options(resolved.launch)
    return {key: value for key, value in table.items() if value not in ({}, [])}


def _phase(resolved: Resolved, phase: Phase, shared: dict[str, Any]) -> dict[str, Any]:
    """One [phase.NAME]: what is its own, then what is not shared."""
    table: dict[str, Any] = {"views": list(phase.views), "epochs": phase.epochs}
    if isinstance(phase.start_from, WeightsFile):
        allowed = list(phase.start_from.allow_missing)
        table["start_from"] = {"file": str(phase.start_from.file), "allow_missing": allowed}
    elif phase.start_from is not None:
        table["start_from"] = phase.start_from
    if phase.mine_with is not None:
        table["mine_with"] = phase.mine_with
    table |= {key: getattr(phase, key) for key in _SCALARS if key not in shared}
    if "clip" not in shared:
        table["clip"] = _options(phase.clip)
    kinds = [*_COMPONENTS, *(["miner"] if phase.miner else [])]
    return table | {kind: _of_phase(resolved, phase, kind) for kind in kinds if kind not in shared}


def _of_phase(resolved: Resolved, phase: Phase, kind: str) -> dict[str, Any]:
    return _component(getattr(phase, kind), resolved.cards[f"phase.{phase.name}.{kind}"])


def _dataset(resolved: Resolved, name: str) -> dict[str, Any]:
    """A data set, with the folder in which it was found on this machine."""
    table = _component(resolved.datasets[name], resolved.cards[f"dataset.{name}"])
    root = resolved.roots.get(name)
    return table | ({"root": str(root)} if root else {})


def _component(component: Component, card: str) -> dict[str, Any]:
    return {"use": card, **_options(component)}


def _options(value: Component | Clip | Launch | Published) -> dict[str, Any]:
    """The fields of an attrs object; TOML has no null, so what is None is left out, which means the same."""
    fields = {a.name: getattr(value, a.name) for a in fields_of(type(value))}
    return {k: plain(v) for k, v in fields.items() if v is not None}


def _one_value(phases: Sequence[Phase], key: str) -> bool:
    """Whether all `phases` agree in `key`."""
    return all(getattr(p, key) == getattr(phases[0], key) for p in phases)
