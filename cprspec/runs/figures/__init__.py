"""Figures for papers and reports, made from run directories: one module for each kind, and `style` for what they share.

Only the modules of this package import matplotlib (the extra `figures`); `module_of` says so where it is missing. Each module
has `draw(...) -> matplotlib Figure`, which raises CprspecError where the runs do not have what it needs, and `OPTIONS`; those
that can draw a file instead of runs have `draw_file`, and the endings of such files in `FILES`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from cprspec.errors import CprspecError, Problem

KINDS = {
    "cmr": "class mining recall of every class, as paired bars",
    "curves": "loss, mining precision and CMR by epoch",
    "funnel": "precision and recall of the survivors of each stage",
    "stages": "an ablation as a heat map, of a sweep or of `cprspec mine --json`",
    "confusion": "what a classifier takes each class for",
    "embedding": "a map of embeddings by their principal components",
}
"""What can be drawn, and what it shows."""


def module_of(kind: str) -> ModuleType:
    """The module that draws `kind`, one of `KINDS`. CprspecError where matplotlib is not installed."""
    try:
        return import_module(f"cprspec.runs.figures.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"matplotlib", "PIL"}:
            raise
        hint = "install it with pip install 'cprspec[figures]'"
        raise CprspecError(Problem("figures need matplotlib", hint=hint), exit_code=1) from error
