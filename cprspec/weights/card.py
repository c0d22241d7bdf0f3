"""The model card: `model.toml` beside an exported encoder's weights, all that is needed to build and feed it again.

It names components (not cards of the catalogue, whose options may change) with every option, so nothing but this package
is needed. An exported encoder may come from anywhere: the card is read as strictly as an experiment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from attrs import field, frozen

from cprspec.components import BUILTIN
from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.document import Document, read_document
from cprspec.spec.kinds import Backbone, Component, View, fields_of
from cprspec.spec.plugins import load_installed
from cprspec.spec.schema import Clip
from cprspec.spec.structure import structure
from cprspec.spec.words import did_you_mean, found, quoted
from cprspec.video.normalise import statistics

SCHEMA = 1
CARD, WEIGHTS = "model.toml", "weights.safetensors"

FEATURES = "every test window, centre crop; mean of the windows' L2-normalised pooled backbone features"
"""How a video's feature is made, in words for the card; evaluation/features.py does it."""

T = TypeVar("T")


@frozen(kw_only=True)
class Maker:
    """Who made features: an encoder's name and phase for people, and `digest`, equal only where features can be compared."""

    name: str
    phase: str
    digest: str


@frozen(kw_only=True)
class ModelCard:
    """What rebuilds an encoder: `backbone`, size of the head's `embedding` (0: no head), `view`, `clip`.

    `table`: the whole card.
    """

    name: str
    phase: str
    backbone: Backbone
    embedding: int
    view: View
    clip: Clip
    weights_sha256: str
    table: Mapping[str, Any] = field(factory=dict, eq=False, repr=False)

    @property
    def maker(self) -> Maker:
        """Who features made by this encoder are from; the same for the same weights, shown the same clips."""
        counts = {key: value for key, value in self.to_table().items() if key not in {"name", "phase"}}
        text = json.dumps(counts, sort_keys=True, allow_nan=False)
        return Maker(name=self.name, phase=self.phase, digest=hashlib.sha256(text.encode()).hexdigest())

    def to_table(self) -> dict[str, Any]:
        """The card as the table of a TOML file, without what only a run knows."""
        return {
            "schema": SCHEMA,
            "kind": "model",
            "name": self.name,
            "phase": self.phase,
            "weights": {"file": WEIGHTS, "sha256": self.weights_sha256},
            "backbone": component_table(self.backbone),
            "head": {"embedding": self.embedding},
            "view": component_table(self.view),
            "clip": plain(self.clip) | {"short_side": self.clip.stored_side},
            "normalisation": _normalisation(self.view),
            "features": {"size": self.backbone.feature_size, "made_from": FEATURES},
        }


def component_table(component: Component) -> dict[str, Any]:
    """A component by its own name, with every option."""
    return {"component": component.name, **plain(component)}


def plain(value: object) -> dict[str, Any]:
    """The fields of an attrs object for TOML, which has no null: None is left out."""
    fields = {a.name: getattr(value, a.name) for a in fields_of(type(value))}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items() if v is not None}


def read_card(folder: Path, more: tuple[type[Component], ...] = ()) -> ModelCard:
    """The card of the export in `folder`; `more` are components of plugins. CprspecError with all that is wrong."""
    document = read_document(folder / CARD)
    data, place = document.data, Place(document.file)
    if data.get("kind") != "model" or data.get("schema") != SCHEMA:
        message = f"not a model card of schema {SCHEMA}"
        raise CprspecError(Problem(message, place, "cprspec export writes one"))
    problems: list[Problem] = []
    known = (*BUILTIN, *load_installed(), *more)
    backbone = cast(Backbone, _component(document, "backbone", Backbone, known, problems))
    view = cast(View, _component(document, "view", View, known, problems))
    clip = _structured(Clip, document, "clip", _table(document, "clip", problems), problems)
    embedding = _value(document, ("head", "embedding"), int, problems)
    digest = _value(document, ("weights", "sha256"), str, problems)
    name, phase = (_value(document, (key,), str, problems) for key in ("name", "phase"))
    if embedding is not None and not 0 <= embedding <= 1 << 16:
        problems.append(Problem(f"an embedding of {embedding} numbers", document.places.get(("head", "embedding"))))
    if view is not None and (wrong := _other_normalisation(document, view)) is not None:
        problems.append(wrong)
    if problems:
        raise CprspecError(list(dict.fromkeys(problems)))
    assert clip is not None
    return ModelCard(
        name=str(name), phase=str(phase), backbone=backbone, embedding=int(embedding or 0), view=view, clip=clip,
        weights_sha256=str(digest), table=data,
    )  # fmt: skip


def _component(
    document: Document,
    key: str,
    kind: type[Component],
    known: tuple[type[Component], ...],
    problems: list[Problem],
) -> Component | None:
    table = dict(_table(document, key, problems))
    name = table.pop("component", None)
    of_kind = {component.name: component for component in known if issubclass(component, kind)}
    if not isinstance(name, str) or name not in of_kind:
        place = document.places.get((key, "component")) or document.places.get((key,)) or Place(document.file)
        hint = did_you_mean(str(name), of_kind)
        problems.append(Problem(f"no {kind.kind} component is called {quoted(name)}", place, hint))
        return None
    return _structured(of_kind[name], document, key, table, problems)


def _structured(
    cls: type[T], document: Document, key: str, table: Mapping[str, Any], problems: list[Problem]
) -> T | None:
    def where(path: tuple[str | int, ...]) -> Place:
        return document.places.get((key, *path)) or document.places.get((key,)) or Place(document.file)

    result, wrong = structure(cls, table, f"[{key}]", where, ("component",))
    problems += wrong
    return result


def _table(document: Document, key: str, problems: list[Problem]) -> dict[str, Any]:
    value = document.data.get(key, {})
    if not isinstance(value, dict):
        problems.append(Problem(f"{quoted(key)} must be a table, found {found(value)}", document.places.get((key,))))
        return {}
    return value


def _value(document: Document, path: tuple[str, ...], kind: type[T], problems: list[Problem]) -> T | None:
    value: Any = document.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    word = "a whole number" if kind is int else "text"
    place = document.places.get(path) or Place(document.file)
    problems.append(Problem(f"{quoted('.'.join(path))} must be {word}", place))
    return None


def _normalisation(view: View) -> dict[str, Any]:
    mean, std = statistics(view)
    return {"scale": 255.0, "mean": list(mean), "std": list(std)}


def _other_normalisation(document: Document, view: View) -> Problem | None:
    """Input that this version would prepare differently gives other features without a word: an error."""
    ours = _normalisation(view)
    if document.data.get("normalisation") == ours:
        return None
    place = document.places.get(("normalisation",)) or Place(document.file)
    message = (
        f"this version normalises pictures of such a view by mean {ours['mean']} and std {ours['std']} of x / 255 only"
    )
    return Problem(message, place)
