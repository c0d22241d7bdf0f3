"""How others name the tensors of an encoder, as a table: to accept another layout, add a row to LAYOUTS.

Ours is that of models/heads.Encoder: `0.` backbone, `2.` and `4.` the head. Sources: PROTOCOL 3.2 for CoCLR and CPR,
3.1 for torchvision's S3D.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from attrs import frozen

from cprspec.weights.families import family_of

Names = frozenset[str]

PARTS = ("encoder_q", "encoder_k", "sampler")
"""The networks in a CoCLR or CPR checkpoint: query, key, and the mining view's frozen one."""

TORCHVISION_EPS, OWN_EPS = 1e-3, 1e-5
"""What batch norm adds to a variance in torchvision's S3D, and in ours and the published CoCLR code."""

_ALIAS = re.compile(r"0\.block[1-5]\.")


@frozen
class Ignored:
    """A tensor that does not belong to the encoder, and why."""

    reason: str


@frozen
class Layout:
    """One way of naming. `rename(name, part)` gives our name for a tensor, or why it is ignored.

    `parts`: whether a file holds several encoders, of which one is chosen. `convert(ours, tensor)` changes values where the
    networks compute differently; `note` then says how.
    """

    name: str
    about: str
    recognise: Callable[[Names], bool]
    rename: Callable[[str, str], str | Ignored]
    parts: bool = False
    convert: Callable[[str, torch.Tensor], torch.Tensor] | None = None
    note: str | None = None


def _kept(ours: str) -> str | Ignored:
    return Ignored("second name of a tensor (block1 to block5)") if _ALIAS.match(ours) else ours


def _coclr(name: str, part: str) -> str | Ignored:
    owner, _, rest = name.partition(".")
    if owner == part:
        return _kept(rest)
    if owner in PARTS:
        return Ignored(f"belongs to {owner}")
    return Ignored("state of the queue" if owner.startswith(("queue", "memory_index")) else "not of the encoder")


def _classifier(name: str, _: str) -> str | Ignored:
    owner, _, rest = name.partition(".")
    return _kept(f"0.{rest}") if owner == "backbone" else Ignored("of the classifier")


def _bare(name: str, _: str) -> str | Ignored:
    return _kept(f"0.{name}")


def _own(name: str, _: str) -> str | Ignored:
    return _kept(name)


_STEM = {"0": ("Conv_1a", True), "2": ("Conv_2b", False), "3": ("Conv_2c", True)}
_MIXED = {"5": "3b", "6": "3c", "8": "4b", "9": "4c", "10": "4d", "11": "4e", "12": "4f", "14": "5b", "15": "5c"}
"""Positions in torchvision's `features` and the layers there; those between are pools."""


def _torchvision_s3d(name: str, _: str) -> str | Ignored:
    if name.startswith("classifier."):
        return Ignored("of the classifier")
    found = re.fullmatch(r"features\.(\d+)\.(.+)\.(weight|bias|running_mean|running_var|num_batches_tracked)", name)
    ours = _torchvision_layer(found[1], found[2].split(".")) if found else None
    return f"0.{ours}.{found[3]}" if found and ours else Ignored("no layer of S3D has this name")


def _torchvision_layer(position: str, path: list[str]) -> str | None:
    """Our name for the layer at `features.<position>.<path>`; None if there is none."""
    if position in _STEM:
        layer, separable = _STEM[position]
        operation = _operation(path, separable)
        return f"{layer}.{operation}" if operation else None
    branch = re.fullmatch(r"branch([0-3])", path[0])
    if position not in _MIXED or branch is None:
        return None
    if branch[1] == "0":  # a single convolution, which torchvision does not wrap
        place, separable, rest = "0", False, path[1:]
    elif branch[1] == "3":  # a pool and a convolution
        place, separable, rest = "1", False, path[2:] if path[1:2] == ["1"] else []
    else:
        place, separable, rest = path[1] if len(path) > 1 else "", path[1:2] == ["1"], path[2:]
    operation = _operation(rest, separable)
    return f"Mixed_{_MIXED[position]}.branch{branch[1]}.{place}.{operation}" if operation else None


def _operation(path: list[str], separable: bool) -> str | None:
    """`0` is a convolution and `1` its batch norm; a separable one has two of each, `0.0` to `1.1`."""
    if len(path) != (2 if separable else 1) or any(p not in ("0", "1") for p in path):
        return None
    number = str(int(path[0]) + 1) if separable else ""
    return ("conv", "bn")[int(path[-1])] + number


def _own_eps(ours: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor + (TORCHVISION_EPS - OWN_EPS) if ours.endswith(".running_var") else tensor


def _begins(prefix: str) -> Callable[[Names], bool]:
    return lambda found: family_of(found, prefix) is not None


def _any_part(found: Names) -> bool:
    return any(family_of(found, f"{part}.0.") for part in PARTS)


LAYOUTS = (
    Layout("coclr", "pre-training checkpoint of CoCLR or CPR", _any_part, _coclr, parts=True),
    Layout("coclr-classifier", "fine-tuned checkpoint of CoCLR or CPR", _begins("backbone."), _classifier),
    Layout(
        "torchvision-s3d",
        "torchvision.models.video.s3d",
        lambda found: "features.0.0.0.weight" in found,
        _torchvision_s3d,
        convert=_own_eps,
        note=f"running_var + {TORCHVISION_EPS - OWN_EPS:g}: torchvision's batch norm adds {TORCHVISION_EPS:g} to a"
        f" variance where ours adds {OWN_EPS:g}",
    ),
    Layout("cprspec", "encoder of cprspec", _begins("0."), _own),
    Layout("backbone", "a backbone alone", _begins(""), _bare),
)
"""Every layout, in the order in which they are tried."""


def layout_of(names: Names) -> Layout | None:
    """The first layout that recognises `names`."""
    return next((layout for layout in LAYOUTS if layout.recognise(names)), None)
