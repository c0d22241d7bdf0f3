"""A map of embeddings: their first two principal components, a colour and a sign for each class.

Of a file that `cprspec embed` wrote (features of videos, labels in the table beside it), or of a run: the clips of the last
epoch that mined, as the trained view's encoder embedded them (`mining/replay.safetensors`).

Legend: V points, F features.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cprspec.errors import MAX_ECHO, clean
from cprspec.runs.figures.phases import mined_phase
from cprspec.runs.figures.style import COLOURS, MARKERS, label, new_figure, nothing, styled
from cprspec.runs.groups import group_by_seed
from cprspec.runs.summary import RunSummary

OPTIONS = ("phase",)
FILES = (".safetensors",)
MOST_CLASSES = 24
"""So many classes, the most frequent, are told apart; the others are grey."""

_POINTS_AS_PIXELS = 5000
_OTHER = "#b0b0b0"
_TRAINED = ("clips.query_MD", "clips.first_MD")
"""What a recording calls the embeddings of the trained view, with MoCo and with IIC."""


@frozen(eq=False)
class Points:
    """`features_VF`, and the class of each (None: unknown)."""

    features_VF: NDArray[np.float32]
    labels: tuple[str | None, ...]


def draw(runs: Sequence[RunSummary], *, columns: int = 1, phase: str | None = None) -> Figure:
    """The clips of the last epoch in which `phase` (default: the last that mines) of one run mined."""
    if len(runs) != 1:
        raise nothing(f"a map is of one run, and these are {len(runs)}", "embeddings of several have no axis in common")
    phase = mined_phase(group_by_seed(runs), phase)
    path = runs[0].run.replay(phase)
    if not path.is_file():
        raise nothing(f"phase '{phase}' has no recording of its mining", "it was trained with launch.replay = false")
    with styled():
        return _figure(_recorded(path), columns)


def draw_file(path: Path, *, columns: int = 1, phase: str | None = None) -> Figure:
    """The videos in a file that `cprspec embed` wrote."""
    if phase is not None:
        raise nothing("a file of embeddings has no phases", "leave out --phase")
    with styled():
        return _figure(_embedded(path), columns)


def principal_components(features_VF: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first two principal components `[V,2]`, and the shares of the variance along them `[2]`.

    The sign of a component is free: here its largest weight is positive, so that the same features give the same map.
    """
    centred_VF = features_VF - features_VF.mean(0, dtype=np.float64)
    variance_F, weights_FF = np.linalg.eigh(centred_VF.T @ centred_VF)
    weights_F2 = weights_FF[:, ::-1][:, :2]
    largest = np.take_along_axis(weights_F2, np.abs(weights_F2).argmax(0)[None], 0)
    share_2 = variance_F[::-1][:2].clip(0) / max(float(variance_F.clip(0).sum()), np.finfo(np.float64).tiny)
    return centred_VF @ (weights_F2 * np.where(largest < 0, -1, 1)), share_2


def _figure(points: Points, columns: int) -> Figure:
    place_V2, share_2 = principal_components(points.features_VF)
    x_V, y_V = place_V2.T
    counts = Counter(name for name in points.labels if name is not None)
    shown = sorted(name for name, _ in counts.most_common(MOST_CLASSES))
    figure = new_figure(columns, 3.0 if columns == 1 else 4.2)
    axes = figure.subplots()
    axes.grid(visible=False)
    names = np.array([name if name in shown else None for name in points.labels], dtype=object)
    others = names == None  # noqa: E711  # one by one
    as_pixels = len(names) > _POINTS_AS_PIXELS
    if others.any():
        rest = f"{len(counts) - len(shown)} other classes" if len(counts) > len(shown) else "no class"
        axes.scatter(x_V[others], y_V[others], s=5, color=_OTHER, linewidths=0, rasterized=as_pixels, label=rest)
    for number, name in enumerate(shown):
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
        own = names == name
        axes.scatter(
            x_V[own], y_V[own], s=14, marker=marker, color=COLOURS[number % len(COLOURS)], edgecolors="black",
            linewidths=0.25, rasterized=as_pixels, label=label(name, 24),
        )  # fmt: skip
    for axis, share, ordinal in ((axes.xaxis, share_2[0], 1), (axes.yaxis, share_2[1], 2)):
        axis.set_label_text(f"component {ordinal} ({100 * share:.1f} % of variance)")
        axis.set_ticks([])
    _legend(figure, axes, columns)
    return figure


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    names = [str(artist.get_label()) for artist in axes.collections]
    if len(names) < 2:
        return
    if columns == 2:
        figure.legend(axes.collections, names, loc="outside right upper", fontsize=6)
    else:
        figure.legend(axes.collections, names, loc="outside lower center", fontsize=6, ncols=3)


def _embedded(path: Path) -> Points:
    """`features` and the labels in the table of the same name."""
    features_VF = _features(_read(path, ["features"])[0].get("features"), path)
    listing = path.with_suffix(".csv")
    if not listing.exists():
        return Points(features_VF, (None,) * len(features_VF))
    try:
        with listing.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            labels = tuple(row.get("label") or None for row in csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise nothing(f"{listing}: cannot be read: {clean(str(error), MAX_ECHO)}") from error
    if len(labels) != len(features_VF):
        raise nothing(
            f"{listing} names {len(labels)} videos, and {path.name} has {len(features_VF)}", "embed them again"
        )
    return Points(features_VF, labels)


def _recorded(path: Path) -> Points:
    """Embeddings of the trained view and the class of each clip, out of a recording."""
    tensors, header = _read(path, [*_TRAINED, "clips.video_M", "label_V"])
    embeddings = next((tensors[name] for name in _TRAINED if name in tensors), None)
    features_MF = _features(embeddings, path)
    try:
        classes = [str(name) for name in json.loads(header["cprspec"])["classes"]]
        label_M = tensors["label_V"][tensors["clips.video_M"]].tolist()
        labels = tuple(classes[number] if number >= 0 else None for number in label_M)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise nothing(f"{path}: not a recording of mining: {type(error).__name__}") from error
    if len(labels) != len(features_MF):
        raise nothing(f"{path}: {len(labels)} clips, and {len(features_MF)} embeddings")
    return Points(features_MF, labels)


def _read(path: Path, names: Sequence[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Those of the tensors `names` that a file has, and its header."""
    try:
        with safe_open(path, framework="np") as file:
            found = {name: file.get_tensor(name) for name in names if name in file.keys()}  # noqa: SIM118
            return found, file.metadata() or {}
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise nothing(f"{path}: cannot be read: {clean(str(error), MAX_ECHO)}") from error


def _features(features: NDArray[Any] | None, path: Path) -> NDArray[np.float32]:
    """At least three rows of finite numbers."""
    if features is None or features.ndim != 2 or features.dtype.kind != "f":
        raise nothing(f"{path}: no features in it", "give a file that cprspec embed wrote, or a run that mined")
    if len(features) < 3 or features.shape[1] < 2 or not np.isfinite(features).all():
        raise nothing(
            f"{path}: {len(features)} x {features.shape[1]} features give no map", "it needs three videos or more"
        )
    return features.astype(np.float32)
