"""What a classifier takes each class for: true classes down, answers across, each row the shares of its test videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cprspec.runs.figures.style import SHADES, WIDTHS, ink_on, label, new_figure, nothing, styled, unknown
from cprspec.runs.groups import encoder_place, group_by_seed
from cprspec.runs.summary import RunSummary

OPTIONS = ("evaluation", "encoder", "dataset")
COUNTS_UP_TO = 15
"""So many classes have their counts written into the cells."""

_ONE_COLUMN = 30
"""So many classes fit one column of a paper."""

_SMALLEST = 3.0
"""Points below which names of classes cannot be read, and are left out."""


@frozen(eq=False)
class Matrix:
    """A confusion matrix of one run: whose it is, and `counts_CC` of videos, true class by row."""

    evaluation: str
    dataset: str
    encoder: str
    classes: tuple[str, ...]
    counts_CC: NDArray[np.int64]


def draw(
    runs: Sequence[RunSummary],
    *,
    columns: int | None = None,
    evaluation: str | None = None,
    encoder: str | None = None,
    dataset: str | None = None,
) -> Figure:
    """The confusion of one experiment, counts summed over its seeds.

    By default of the first evaluation and data set that have one, and of the encoder of the last phase among them.
    """
    groups = group_by_seed(runs)
    if len(groups) != 1:
        raise nothing(f"a confusion matrix is of one experiment, and these are {len(groups)}", "give one, or its seeds")
    found = [matrix for run in runs for matrix in matrices(run)]
    if not found:
        hint = "linear, probe and finetune write one: give a run that has finished such an evaluation"
        raise nothing(f"{groups[0].experiment} has no confusion matrix", hint)
    phases = [phase.name for phase in runs[0].phases]
    found = _of("evaluation", found, evaluation)
    found = _of("data set", found, dataset)
    found = _of("encoder", sorted(found, key=lambda matrix: -encoder_place(matrix.encoder, phases)), encoder)
    if len({matrix.classes for matrix in found}) > 1:
        raise nothing("the seeds do not have the same classes", "give one run")
    total = Matrix(
        found[0].evaluation,
        found[0].dataset,
        found[0].encoder,
        found[0].classes,
        np.sum([m.counts_CC for m in found], 0),
    )
    with styled():
        return _figure(total, columns or (1 if len(total.classes) <= _ONE_COLUMN else 2))


def _of(what: str, found: Sequence[Matrix], wanted: str | None) -> list[Matrix]:
    """Those of the evaluation, data set or encoder that is `wanted`, by default of the first."""
    names = [{"evaluation": m.evaluation, "data set": m.dataset, "encoder": m.encoder}[what] for m in found]
    if wanted is not None and wanted not in names:
        raise unknown(f"no confusion matrix is of {what}", wanted, dict.fromkeys(names))
    return [matrix for matrix, name in zip(found, names, strict=True) if name == (wanted or names[0])]


def matrices(run: RunSummary) -> Iterator[Matrix]:
    """Every confusion matrix of a run that can be read."""
    for name, facts in run.evaluations.items():
        for dataset, confusion in _table(facts.get("confusion")).items():
            classes = _table(confusion).get("classes")
            if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
                continue
            for encoder, counts in _table(_table(confusion).get("counts")).items():
                if (counts_CC := _square(counts, len(classes))) is not None:
                    yield Matrix(name, dataset, encoder, tuple(classes), counts_CC)


def _figure(matrix: Matrix, columns: int) -> Figure:
    classes = len(matrix.classes)
    figure = new_figure(columns, WIDTHS[columns] * 0.92)
    axes = figure.subplots()
    videos_C1 = matrix.counts_CC.sum(1, keepdims=True)
    share_CC = np.divide(100 * matrix.counts_CC, videos_C1, out=np.zeros((classes, classes)), where=videos_C1 > 0)
    image = axes.imshow(share_CC, cmap=SHADES, vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="of the class's videos (%)", shrink=0.8)
    size = min(6.5, 0.72 * WIDTHS[columns] * 72 * 0.9 / classes)
    names = [label(name, 24) for name in matrix.classes] if size >= _SMALLEST else []
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0, pad=1)
    axes.grid(visible=False)
    if classes <= COUNTS_UP_TO:
        _write(axes, matrix.counts_CC, share_CC, size)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    right = int(matrix.counts_CC.diagonal().sum())
    whose = f"{label(matrix.encoder, 24)}, {label(matrix.evaluation, 16)} on {label(matrix.dataset, 16)}"
    axes.set_title(f"{whose}: {right} of {videos_C1.sum()} right")
    return figure


def _write(axes: Axes, counts_CC: NDArray[np.int64], share_CC: NDArray[np.float64], size: float) -> None:
    for row, column in np.argwhere(counts_CC).tolist():
        ink = ink_on(float(share_CC[row, column]) / 100)
        axes.text(column, row, str(counts_CC[row, column]), ha="center", va="center", fontsize=size, color=ink)


def _square(counts: Any, classes: int) -> NDArray[np.int64] | None:
    """Counts as an array `[classes, classes]`, None if they are none."""
    try:
        found = np.array(counts, dtype=np.int64)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.shape == (classes, classes) and classes and (found >= 0).all() else None


def _table(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}
