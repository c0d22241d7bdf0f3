"""The embedding file: features of videos as safetensors, a table of their paths beside it, and who made them.

Shapes: V videos, F size of the feature.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, field, frozen
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.runs.files import atomic_write_bytes
from cprspec.weights.card import Maker

SCHEMA, KIND = 1, "embeddings"
HEADER = "cprspec"
"""The entry of the safetensors header that holds schema, kind and maker as JSON."""

COLUMNS = ("row", "path", "label", "name")


class _OtherError(ValueError):
    """A sound file that holds something else."""


@frozen(eq=False)
class Embeddings:
    """`features_VF` float32, one row per video of `paths`; `labels` are folders' names where videos lie in some.

    `names` are what the videos are called: of a store the names they had when it was prepared, else their paths.
    """

    paths: tuple[Path, ...]
    labels: tuple[str | None, ...]
    features_VF: torch.Tensor
    maker: Maker
    warnings: tuple[Problem, ...] = ()
    names: tuple[str, ...] = field()

    @names.default
    def _paths_as_names(self) -> tuple[str, ...]:
        return tuple(map(str, self.paths))

    def save(self, file: Path | str) -> tuple[Path, Path]:
        """Write `features` `[V,F]` as safetensors to `file`, and `row,path,label,name` as CSV beside it; the two paths."""
        file = Path(file)
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, (path, label, name) in enumerate(zip(self.paths, self.labels, self.names, strict=True)):
            writer.writerow((row, path, label or "", name))
        listing = listing_of(file)
        if listing == file:
            raise CprspecError(Problem("the table of paths would replace the features", Place(str(file))))
        facts = json.dumps({"schema": SCHEMA, "kind": KIND, "encoder": asdict(self.maker)}, ensure_ascii=True)
        atomic_write_bytes(file, to_bytes({"features": self.features_VF}, {HEADER: facts}))
        atomic_write_bytes(listing, rows.getvalue().encode("utf-8", "surrogateescape"))
        return file, listing


def listing_of(file: Path) -> Path:
    """The table of paths beside an embedding file."""
    return file.with_suffix(".csv")


def read_embeddings(file: Path) -> Embeddings:
    """What `Embeddings.save` wrote. CprspecError where a part is missing or damaged, or they do not belong together."""
    try:
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(HEADER, "null"))
        features_VF = from_bytes(content)["features"]
        maker = _maker(facts)
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(file, _why(content, error)) from error
    if features_VF.ndim != 2 or features_VF.dtype != torch.float32 or not bool(features_VF.isfinite().all()):
        raise _unreadable(file, f"features of shape {list(features_VF.shape)} are not finite float32 [V,F]")
    paths, labels, names = _read_listing(listing_of(file))
    if len(paths) != len(features_VF):
        message = f"names {len(paths)} videos, and {file.name} has features of {len(features_VF)}"
        raise CprspecError(Problem(message, Place(str(listing_of(file))), "cprspec embed writes both"))
    return Embeddings(paths, labels, features_VF, maker, names=names)


def _why(content: bytes, error: Exception) -> str:
    """What is wrong with a file's content, in words: safetensors begins with the length of a JSON header."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8 or content[8:9] != b"{":
        return "it is no safetensors file"
    if isinstance(error, KeyError):
        return f"it has no {clean(str(error), MAX_ECHO)}"
    return str(error) if isinstance(error, _OtherError) else f"its header or its tensors are damaged ({error})"


def _maker(facts: Any) -> Maker:
    """KeyError, TypeError or ValueError where the header does not say who made the features."""
    if facts is None:
        raise _OtherError("it does not say which encoder made it")
    if facts["kind"] != KIND or facts["schema"] != SCHEMA:
        raise _OtherError(f"it is {facts['kind']!r} of schema {facts['schema']!r}")
    found = facts["encoder"]
    return Maker(name=str(found["name"]), phase=str(found["phase"]), digest=str(found["digest"]))


def _read_listing(listing: Path) -> tuple[tuple[Path, ...], tuple[str | None, ...], tuple[str, ...]]:
    """Paths, labels and names; an older table has no names."""
    try:
        text = listing.read_bytes().decode("utf-8", "surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        found = [(Path(row["path"]), row["label"] or None, row.get("name") or row["path"]) for row in rows]
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        message = f"cannot read the table of the videos' paths ({clean(reason, MAX_ECHO)})"
        raise CprspecError(
            Problem(message, Place(str(listing)), "cprspec embed writes it beside the features")
        ) from error
    paths, labels, names = zip(*found, strict=True) if found else ((), (), ())
    return paths, labels, names


def _unreadable(file: Path, reason: str) -> CprspecError:
    hint = "make it with cprspec embed EXPORT VIDEOS -o FILE.safetensors"
    return CprspecError(Problem(f"not an embedding file: {clean(reason, MAX_ECHO)}", Place(str(file)), hint))
