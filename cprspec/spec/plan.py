"""In which order phases run, and the fingerprint by which a finished one is recognised and reused.

A fingerprint covers everything that changes what a phase learns: its options, its parents, the data, the precision, the
seed and RECIPE. It leaves out names, folders, workers, evaluations and other phases, so experiments that differ only in
what comes later share their first phases.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cprspec.errors import CprspecError
from cprspec.spec.by_epoch import plain
from cprspec.spec.kinds import Component, Evaluator, fields_of
from cprspec.spec.schema import JUDGING, RECIPE, Clip, Phase, Resolved, WeightsFile


def find_cycle(parents: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """A circle of names in which each needs the next, the first repeated at the end; None if there is none."""
    done: set[str] = set()
    for start in parents:
        stack = [] if start in done else [(start, iter(parents[start]))]
        while stack:
            name, rest = stack[-1]
            needed = next((p for p in rest if p in parents and p not in done), None)
            trail = [n for n, _ in stack]
            if needed is None:
                done.add(name)
                stack.pop()
            elif needed in trail:
                return (*trail[trail.index(needed) :], needed)
            else:
                stack.append((needed, iter(parents[needed])))
    return None


def order(parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names so that each comes after those it needs, and otherwise as written. `parents` has no cycle."""
    placed: dict[str, None] = {}
    for start in parents:
        stack = [start]
        while stack:
            missing = [p for p in parents[stack[-1]] if p in parents and p not in placed]
            if missing:
                stack.append(missing[0])
            else:
                placed.setdefault(stack.pop())
    return tuple(placed)


def fingerprints(resolved: Resolved, data_identity: str, weights_sha256: Callable[[Path], str]) -> dict[str, str]:
    """The sha256 fingerprint of each phase, by name.

    `data_identity` is the digest of the index that phases train on; `weights_sha256` gives the digest of a weights file.
    """
    result: dict[str, str] = {}
    for phase in resolved.phases:
        facts = {
            "recipe": RECIPE,
            "data": data_identity,
            "seed": phase.seed,
            "epochs": phase.epochs,
            "batch_size": phase.batch_size,
            "accumulate": phase.accumulate,
            "precision": phase.precision,
            "clip": _clip_facts(phase.clip),
            "views": [_component_facts(resolved.views[v]) for v in phase.views],
            "backbone": _component_facts(phase.backbone),
            "augment": _component_facts(phase.augment),
            "framework": _component_facts(phase.framework),
            "optimizer": _component_facts(phase.optimizer),
            "schedule": _component_facts(phase.schedule),
            "miner": _component_facts(phase.miner) if phase.miner else None,
            "start_from": _start_facts(phase, result, weights_sha256),
            "mine_with": result[phase.mine_with] if phase.mine_with else None,
        }
        result[phase.name] = _digest(facts)
    return result


def evaluation_fingerprint(
    evaluator: Evaluator,
    resolved: Resolved,
    phases: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, str],
    versions: Mapping[str, str],
) -> str:
    """The sha256 fingerprint of an evaluation: its options, every phase's weights, all data, the seed, and JUDGING.

    `phases` is what is known of each finished phase, `data` the digest of each data set's index. It leaves out names of
    experiments, folders and workers, and other evaluations. What it says may change with versions, so they are in it.
    """
    return _digest(
        {
            "judging": JUDGING,
            "evaluator": _component_facts(evaluator),
            "phases": [[name, facts["fingerprint"], facts["weights_sha256"]] for name, facts in phases.items()],
            "views": {name: _component_facts(view) for name, view in resolved.views.items()},
            "data": {name: [_component_facts(d), data[name]] for name, d in resolved.datasets.items()},
            "train_on": resolved.train_on,
            "seed": resolved.seed,
            "versions": dict(versions),
        }
    )


def _digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _start_facts(phase: Phase, done: Mapping[str, str], weights_sha256: Callable[[Path], str]) -> Any:
    """Where the first weights come from: a phase's fingerprint, or what the file holds."""
    if isinstance(phase.start_from, WeightsFile):
        return {"sha256": weights_sha256(phase.start_from.file), "allow_missing": list(phase.start_from.allow_missing)}
    return done[phase.start_from] if phase.start_from else None


def _clip_facts(clip: Clip) -> dict[str, int]:
    """The clip as it is cut; a side that is written out equals the same side by default."""
    return {"frames": clip.frames, "stride": clip.stride, "size": clip.size, "stored_side": clip.stored_side}


def _component_facts(component: Component) -> dict[str, Any]:
    """Which component, with which options; for a plugin also the digest of its file."""
    options = {a.name: plain(getattr(component, a.name)) for a in fields_of(type(component)) if _counts(a, component)}
    return {"component": f"{component.kind}.{component.name}", "options": options, "code": _plugin_digest(component)}


def _counts(option: attrs.Attribute[Any], component: Component) -> bool:
    """Whether an option changes what is learned; see `kinds.option`."""
    if option.metadata.get("added_later") and getattr(component, option.name) == option.default:
        return False
    return bool(option.metadata.get("in_fingerprint", True))


def _plugin_digest(component: Component) -> str | None:
    """The sha256 of the file that declares a component, if cprspec does not: editing a plugin changes what is learned."""
    module = type(component).__module__
    if module.partition(".")[0] == "cprspec":
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise CprspecError(f"cannot read {file}, which declares {component.kind} {component.name!r}: {error}") from None
