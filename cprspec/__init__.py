"""cprspec: train video encoders without labels by mining positives.

In Python: `load_experiment`, `open_run` and `load_encoder`, and nothing else. Each imports what it needs when called, so
that importing cprspec costs nothing. See docs/python-api.md.
"""

from __future__ import annotations

import os as _os
import typing as _typing
from collections.abc import Mapping as _Mapping
from collections.abc import Sequence as _Sequence

if _typing.TYPE_CHECKING:
    from cprspec.runs.summary import RunSummary as _RunSummary
    from cprspec.spec.schema import Resolved as _Resolved
    from cprspec.weights.embed import LoadedEncoder as _LoadedEncoder

__version__ = "0.1.0"
__all__ = ["load_encoder", "load_experiment", "open_run"]


def load_experiment(
    path: str | _os.PathLike[str],
    *,
    overrides: _Sequence[str] = (),
    roots: _Mapping[str, str] | None = None,
) -> _Resolved:
    """The experiment in a TOML file with every default filled in; no video is looked at.

    `overrides` are `KEY=VALUE` as in `--set`, `roots` maps data sets to folders as in `--root`. Raises CprspecError with
    every problem; also for a sweep of several runs, unless `overrides` choose one (`sweep.only=["NAME"]`).
    """
    from pathlib import Path

    from cprspec.spec.registry import builtin_registry
    from cprspec.spec.resolve import resolve

    return resolve(Path(path), builtin_registry(), overrides=overrides, roots=roots)


def open_run(run: str | _os.PathLike[str], *, runs: str | _os.PathLike[str] = "runs") -> _RunSummary:
    """A run in short: what was asked, where it stands, its phases and flat result records.

    `run` is a run directory, or below the folder `runs` an experiment's name (its latest run) or an unambiguous beginning.
    Raises CprspecError where there is none; what cannot be read of one is named in `problems`.
    """
    from pathlib import Path

    from cprspec.runs.layout import RunDir
    from cprspec.runs.summary import summarise

    return summarise(RunDir.find(str(run), Path(runs)))


def load_encoder(export: str | _os.PathLike[str], *, device: str = "auto") -> _LoadedEncoder:
    """The encoder in a folder that `cprspec export` wrote; `.embed(paths)` gives features `[V,F]` of videos.

    `device`: `cpu`, `cuda`, or `auto`, which takes CUDA where there is one. Raises CprspecError where the folder is wrong.
    """
    from pathlib import Path

    from cprspec.weights.embed import load_encoder as load

    return load(Path(export), device)


def __dir__() -> list[str]:
    """What a notebook offers for completion."""
    return [*__all__, "__version__"]
