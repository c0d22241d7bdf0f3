"""Frames of a run's clips, as the JPEG strips beside its mining tables show them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from cprspec.runs.layout import NAME
from cprspec.runs.summary import RunSummary

Image = NDArray[np.uint8]
"""`[H,W,3]`."""

MAX_BYTES = 4 << 20
MAX_SIDE = 8192
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.jpe?g")


def class_strips(runs: Sequence[RunSummary], phase: str) -> dict[str, Image]:
    """A strip of one query of each class whose query in the last mining table of `phase` has one that can be read."""
    found: dict[str, Image] = {}
    for run in runs:
        for p in run.phases:
            if p.name != phase or not p.table or not NAME.fullmatch(phase):
                continue
            folder = run.run.mining(phase) / "strips"
            examples = p.table.get("examples")
            for example in examples if isinstance(examples, list) else ():
                name = _class_without_strip(example, found)
                image = read_strip(folder, example.get("strip")) if name is not None else None
                if name is not None and image is not None:
                    found[name] = image
    return found


def read_strip(folder: Path, file: object) -> Image | None:
    """The picture called `file` in `folder`; None where there is none that can be read and is small."""
    if not isinstance(file, str) or not _FILE.fullmatch(file):
        return None
    path = folder / file
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        with Pillow.open(path, formats=["JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE:
                return None
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return None  # half written or damaged: a picture less


def _class_without_strip(example: Any, found: Mapping[str, Image]) -> str | None:
    """The class of an example, if it has one of which there is no strip yet."""
    name = example.get("label") if isinstance(example, Mapping) else None
    return name if isinstance(name, str) and name not in found else None
