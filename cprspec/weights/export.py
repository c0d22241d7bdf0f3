"""`cprspec export`: the encoder of a finished phase as a folder that stands alone: weights and a model card.

The card also says where the weights come from: the data and its identity, the phases that led to them with their
fingerprints, what was measured, and the versions.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import tomli_w
from attrs import frozen

from cprspec.data.stores import build_index
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.runs.files import atomic_write_bytes, atomic_write_text, sync_folder, write_failed
from cprspec.runs.layout import RunDir
from cprspec.runs.records import Record
from cprspec.runs.summary import summarise
from cprspec.spec.encoders import phases_of
from cprspec.spec.plan import fingerprints
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Phase, Resolved
from cprspec.spec.words import did_you_mean, quoted
from cprspec.training import checkpoint
from cprspec.training.environment import file_digest
from cprspec.training.reuse import FINISHED
from cprspec.video.store import cache_folder
from cprspec.weights.card import CARD, WEIGHTS, ModelCard, component_table


@frozen
class Exported:
    """What was written: the folder, its card as a table, and warnings; `what` says whose encoder it is."""

    folder: Path
    table: Mapping[str, Any]
    warnings: tuple[Problem, ...]
    what: str


def export_run(
    run: RunDir, phase_name: str | None, out: Path, registry: Registry, view_name: str | None = None
) -> Exported:
    """Write the encoder that `phase_name` (None: the last) ended with into the new folder `out`.

    `view_name` is the view it will be shown, of a phase that learned several (None: its first).
    """
    resolved = resolve(run.resolved, registry)
    phase = _phase(resolved, run, phase_name)
    view = _view(phase, view_name)
    needed = [resolved.phase(name) for name in _lineage(resolved, phase)]
    facts = {each.name: _facts(run, each.name) for each in needed}
    folder = run.checkpoints(phase.name) / str(facts[phase.name].get("checkpoint"))
    checkpoint.load(folder)  # verifies it
    card = ModelCard(
        name=resolved.name,
        phase=phase.name,
        backbone=phase.backbone,
        embedding=phase.framework.head,
        view=resolved.views[view],
        clip=phase.clip,
        weights_sha256=checkpoint.weights_digest(folder),
    )
    identity = _identity(resolved, facts)
    table = card.to_table() | {
        "seed": phase.seed,
        "run": run.label,
        "dataset": _dataset(resolved, phase, identity),
        "recipe": [_phase_table(resolved, each, facts[each.name]) for each in needed],
        "results": [_result(r) for r in summarise(run).records if r.value is not None and _concerns(r, phase.name)],
        "versions": {str(k): str(v) for k, v in facts[phase.name].get("versions", {}).items()},
    }
    _write(out, (folder / checkpoint.WEIGHTS).read_bytes(), tomli_w.dumps(table))
    hint = "its videos are not where the run found them, or not the same"
    warnings = [Problem("the card does not name the data's identity", hint=hint, warning=True)] if not identity else []
    return Exported(out, table, tuple(warnings), _what(resolved, phase, view))


def _what(resolved: Resolved, phase: Phase, view: str) -> str:
    """Phase and view of the encoder, and which others there are."""
    others = [each.name for each in resolved.phases if each.name != phase.name]
    more = f"; --phase takes another: {', '.join(others)}" if others else ""
    more += f"; --view: {', '.join(other for other in phase.views if other != view)}" if len(phase.views) > 1 else ""
    return f"the encoder of phase {quoted(phase.name)}, for view {quoted(view)}{more}"


def _phase(resolved: Resolved, run: RunDir, name: str | None) -> Phase:
    names = [phase.name for phase in resolved.phases]
    if name is None:
        return resolved.phases[-1]
    if name not in names:
        message = f"run {run.label} has no phase {quoted(name)}"
        raise CprspecError(Problem(message, None, did_you_mean(name, names)))
    return resolved.phase(name)


def _view(phase: Phase, name: str | None) -> str:
    if name is not None and name not in phase.views:
        message = f"phase {quoted(phase.name)} has no view {quoted(name)}"
        raise CprspecError(Problem(message, None, did_you_mean(name, phase.views)))
    return name or phase.views[0]


def _lineage(resolved: Resolved, phase: Phase) -> list[str]:
    """The phases that `phase` came from and itself, in the order in which they ran."""
    wanted, pending = {phase.name}, [phase]
    while pending:
        parents = set(pending.pop().parents) - wanted
        wanted |= parents
        pending += [resolved.phase(name) for name in parents]
    return [each.name for each in resolved.phases if each.name in wanted]


def _facts(run: RunDir, phase: str) -> dict[str, Any]:
    """What a finished phase wrote about itself."""
    path = run.phase(phase) / FINISHED
    try:
        facts = json.loads(path.read_text())
        if isinstance(facts, dict):
            return facts
        reason = "not a JSON object"
    except FileNotFoundError:
        reason = f"phase {quoted(phase)} is not finished"
    except (OSError, ValueError) as error:
        reason = clean(str(error), MAX_ECHO)
    raise CprspecError(Problem(f"cannot export: {reason}", Place(str(path)), f"cprspec run {run.path} goes on with it"))


def _identity(resolved: Resolved, facts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The digest of the data, if what lies there now is what the phases learned from: fingerprints tell."""
    dataset = resolved.datasets[resolved.train_on]
    root = resolved.roots.get(resolved.train_on) or (cache_folder() / dataset.name if dataset.embedded else None)
    if root is None or not root.is_dir():
        return None
    try:
        identity = build_index(dataset, root).digest()
        now = fingerprints(resolved, identity, file_digest)
    except (CprspecError, OSError):
        return None  # videos or first weights are gone; the caller says so
    return identity if all(now[name] == each.get("fingerprint") for name, each in facts.items()) else None


def _dataset(resolved: Resolved, phase: Phase, identity: str | None) -> dict[str, Any]:
    options = component_table(resolved.datasets[phase.dataset])
    options.pop("root", None)  # a fact of the machine
    return {"name": phase.dataset, **options, **({"identity": identity} if identity else {})}


def _phase_table(resolved: Resolved, phase: Phase, facts: Mapping[str, Any]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": phase.name,
        "fingerprint": str(facts.get("fingerprint")),
        "weights_sha256": str(facts.get("weights_sha256")),
        "views": [component_table(resolved.views[view]) for view in phase.views],
        "epochs": phase.epochs,
        "batch_size": phase.batch_size,
        "framework": component_table(phase.framework),
    }
    if phase.start_from is not None:
        named = isinstance(phase.start_from, str)
        table["start_from"] = phase.start_from if named else f"file {phase.start_from.file.name}"  # type: ignore[union-attr]
    if phase.mine_with is not None:
        table["mine_with"] = phase.mine_with
    if phase.miner is not None:
        table["miner"] = component_table(phase.miner)
    return table


def _concerns(record: Record, phase: str) -> bool:
    return phase in phases_of(record.encoder or "")


def _result(record: Record) -> dict[str, Any]:
    return {key: value for key, value in attrs.asdict(record).items() if value is not None}


def _write(out: Path, weights: bytes, card: str) -> None:
    """Both files under another name, then the folder at once; a folder that holds something is not touched."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CprspecError(Problem("exists already and is not an empty folder", Place(str(out)), "choose another"))
    out = out.absolute()
    working = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(working, ignore_errors=True)
    try:
        atomic_write_bytes(working / WEIGHTS, weights)
        atomic_write_text(working / CARD, card)
        working.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise write_failed(out, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
