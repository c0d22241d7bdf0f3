"""`cprspec import`: the tensors of a checkpoint under our names, each one accounted for.

Every tensor of the file is mapped or ignored with a reason; every tensor of the encoder is filled, or allowed by name to
stay unfilled, or an error. The result is what `start_from = { file = ... }` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import save as to_bytes

from cprspec.errors import CprspecError, Place, Problem, clean
from cprspec.models.heads import Encoder
from cprspec.runs.files import atomic_write_bytes
from cprspec.spec.kinds import Backbone, fields_of
from cprspec.spec.words import listed, quoted
from cprspec.weights.families import family_of
from cprspec.weights.layouts import LAYOUTS, PARTS, Ignored, Layout, layout_of
from cprspec.weights.reading import Opened, open_weights

EMBEDDING = 128
"""Size of the embedding where a file has no head that shows it: that of CoCLR and CPR."""

WIDEST = 4.0
"""Largest width factor that a backbone may have; see components/backbones.py."""

SHOWN = 10


@frozen(kw_only=True)
class Imported:
    """Tensors by our names, float32 and int64, and the account: `mapped` (theirs, ours), `ignored` (theirs, why)."""

    source: Path
    container: str
    layout: Layout
    part: str | None
    backbone: Backbone
    tensors: Mapping[str, torch.Tensor]
    mapped: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]
    unfilled: tuple[str, ...]
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The account as JSON."""
        return {
            "schema": 1,
            "kind": "import",
            "file": str(self.source),
            "container": self.container,
            "layout": self.layout.name,
            "part": self.part,
            "backbone": {"component": self.backbone.name, **_options(self.backbone)},
            "mapped": [{"from": a, "to": b, "shape": list(self.tensors[b].shape)} for a, b in self.mapped],
            "ignored": [{"from": name, "reason": reason} for name, reason in self.ignored],
            "unfilled": list(self.unfilled),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """The account for a reader, one line for each tensor of the file and each unfilled one of ours."""
        mapped = [f"mapped    {clean(a)} -> {b} {tuple(self.tensors[b].shape)}" for a, b in self.mapped]
        ignored = [f"ignored   {clean(name)}: {reason}" for name, reason in self.ignored]
        return [*mapped, *ignored, *(f"unfilled  {name}" for name in self.unfilled)]

    def summary(self) -> list[str]:
        """The account in short: what it was taken for, counts, reasons."""
        part = f", {self.part}" if self.part else ""
        options = ", ".join(f"{k} {v}" for k, v in _options(self.backbone).items())
        reasons = Counter(reason for _, reason in self.ignored)
        return [
            f"{self.layout.about} ({self.container}{part}); backbone {self.backbone.name} ({options})",
            f"{len(self.mapped)} mapped, {len(self.ignored)} ignored, {len(self.unfilled)} unfilled",
            *(f"ignored {count}: {reason}" for reason, count in reasons.most_common()),
            *self.notes,
        ]

    def save(self, out: Path) -> None:
        """Write the tensors as safetensors."""
        if out.exists() and out.samefile(self.source):
            raise CprspecError(Problem("the result would replace the file it is read from", Place(str(out))))
        atomic_write_bytes(out, to_bytes(dict(self.tensors)))


def import_weights(file: Path, part: str | None = None, allow_missing: Sequence[str] = ()) -> Imported:
    """Read `file` in a child process and map its tensors; see `map_weights`."""
    return map_weights(open_weights(file), part, allow_missing)


def map_weights(opened: Opened, part: str | None = None, allow_missing: Sequence[str] = ()) -> Imported:
    """Map the tensors of an opened file. CprspecError where shapes differ, values are not finite, or some are missing.

    `part` is the network to take of several (the query encoder); `allow_missing` are beginnings of our names that may stay
    unfilled.
    """
    file = opened.file
    layout = _layout(opened)
    chosen = _part(opened, layout, part)
    renamed, ignored = _rename(opened, layout, chosen or "")
    ours = {name: opened.tensors[theirs] for theirs, name in renamed.items()}
    backbone = _backbone(file, ours)
    expected = _expected(file, backbone, ours)
    theirs_of = {name: theirs for theirs, name in renamed.items()}
    mapped = {theirs_of[name]: name for name in expected if name in theirs_of}  # in the network's order
    ignored += [(t, f"{backbone.name} has no such tensor") for t, name in renamed.items() if name not in expected]
    tensors, notes = _values(file, layout, {name: ours[name] for name in mapped.values()}, expected)
    unfilled = [name for name in expected if name not in tensors]
    _check(file, tensors, expected, unfilled, allow_missing)
    return Imported(
        source=file,
        container=opened.container,
        layout=layout,
        part=chosen,
        backbone=backbone,
        tensors=tensors,
        mapped=tuple(mapped.items()),
        ignored=(*sorted(ignored), *((name, "not a tensor") for name in opened.not_tensors)),
        unfilled=tuple(unfilled),
        notes=tuple(notes),
    )


def _options(backbone: Backbone) -> dict[str, Any]:
    return {a.name: getattr(backbone, a.name) for a in fields_of(type(backbone))}


def _layout(opened: Opened) -> Layout:
    layout = layout_of(frozenset(opened.tensors))
    if layout is None:
        some = listed(list(opened.tensors)[:3])
        known = "; ".join(f"{known.name}: {known.about}" for known in LAYOUTS)
        message = f"its tensors have names of no known layout ({some} ...)"
        raise CprspecError(Problem(message, Place(str(opened.file)), f"known are {known}"))
    return layout


def _part(opened: Opened, layout: Layout, wanted: str | None) -> str | None:
    """The network to take. Without parts there is nothing to choose."""
    here = [part for part in PARTS if family_of(opened.tensors, f"{part}.0.")] if layout.parts else []
    if wanted is not None and wanted not in here:
        hint = (
            f"it has {listed(here)}" if here else f"a file of layout {layout.name} holds one encoder; leave --part out"
        )
        raise CprspecError(Problem(f"it holds no {quoted(wanted)}", Place(str(opened.file)), hint))
    return wanted or (here[0] if here else None)


def _rename(opened: Opened, layout: Layout, part: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Theirs to ours, and what is ignored."""
    renamed: dict[str, str] = {}
    ignored: list[tuple[str, str]] = []
    for theirs in opened.tensors:
        match layout.rename(theirs, part):
            case Ignored(reason):
                ignored.append((theirs, reason))
            case str(ours):
                renamed[theirs] = ours
    return renamed, ignored


def _backbone(file: Path, ours: Mapping[str, torch.Tensor]) -> Backbone:
    inner = {name.removeprefix("0."): tensor for name, tensor in ours.items() if name.startswith("0.")}
    family = family_of(inner)
    if family is None:
        raise CprspecError(Problem("its backbone is none that can be imported", Place(str(file))))
    return family.build(inner)


def _expected(file: Path, backbone: Backbone, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's own tensors, of which only names, shapes and kinds matter: they have no memory."""
    last = ours.get("4.weight")
    embedding = last.shape[0] if last is not None and last.ndim and last.shape[0] else EMBEDDING
    if not 0 < getattr(backbone, "width", 1.0) <= WIDEST:
        raise CprspecError(Problem(f"its shapes are those of no {backbone.name}", Place(str(file))))
    with torch.device("meta"):
        encoder = Encoder(backbone.build(), backbone.feature_size, embedding)
    return dict(encoder.state_dict())


def _values(
    file: Path, layout: Layout, ours: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors as float32 or int64, converted where the layout says so; values that are not finite are an error."""
    tensors: dict[str, torch.Tensor] = {}
    bad = []
    for name, tensor in ours.items():
        if tensor.is_floating_point() != expected[name].is_floating_point() or tensor.is_complex():
            bad.append(f"{name} holds {_kind(tensor)} where {_kind(expected[name])} is expected")
            continue
        value = tensor.to(expected[name].dtype)
        if not bool(torch.isfinite(value).all()):
            bad.append(f"{name} has values that are not finite")
        tensors[name] = layout.convert(name, value) if layout.convert else value
    if bad:
        raise CprspecError(Problem(_some(bad), Place(str(file))))
    others = sorted({_kind(t) for t in ours.values() if t.is_floating_point()} - {"float32"})
    return tensors, [*([layout.note] if layout.note else []), *(f"{kind} is written as float32" for kind in others)]


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check(
    file: Path,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    unfilled: Sequence[str],
    allow_missing: Sequence[str],
) -> None:
    place = Place(str(file))
    problems = [
        Problem(f"no tensor of the encoder begins with {quoted(name)}, which is allowed to be missing", place)
        for name in allow_missing
        if not any(key.startswith(name) for key in expected)
    ]
    wrong = [
        f"{name}: {tuple(tensor.shape)} where {tuple(expected[name].shape)} is expected"
        for name, tensor in tensors.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        problems.append(Problem(f"shapes do not fit: {_some(wrong)}", place))
    missing = [name for name in unfilled if not name.startswith(tuple(allow_missing))]
    if missing:
        heads = dict.fromkeys(name.partition(".")[0] + "." for name in missing)
        hint = "allow it by name: " + " ".join(f"--allow-missing {head}" for head in heads)
        only_head = "0." not in heads
        problems.append(Problem(f"unfilled: {_some(missing)}", place, hint if only_head else None))
    if problems:
        raise CprspecError(problems)


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
