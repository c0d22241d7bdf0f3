"""Features of a whole pass as files of rows beside its kept parts, so that a rank holds one part in memory at a time.

Rank 0 writes them part by part, and every rank maps them: the system reads what is looked at, and may forget it again. They
are made anew from the parts in each attempt, so nothing depends on a torn one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import torch
from attrs import define, field
from torch import Tensor

from cprspec.learning.ranks import Ranks, wait_for_all
from cprspec.runs.files import write_failed


@define
class RowFiles:
    """Rows `[V,F]` float32 under several names, in files `FOLDER/PASS@NAME.rows`; to be used in a `with` statement."""

    folder: Path
    of_pass: str
    ranks: Ranks
    _open: ExitStack = field(factory=ExitStack)
    _files: dict[str, BinaryIO] = field(factory=dict)
    _sizes: dict[str, tuple[int, int]] = field(factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._open.close()
        for name in self._files:
            self._path(name, "rows.tmp").unlink(missing_ok=True)

    def append(self, part: Mapping[str, Tensor]) -> None:
        """Add a part's rows `[P,F]`, the same on every rank, below those that are there."""
        for name, rows in part.items():
            before, _ = self._sizes.get(name, (0, 0))
            self._sizes[name] = before + len(rows), rows.shape[1]
            if self.ranks.first:
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    if name not in self._files:
                        self._files[name] = self._open.enter_context(self._path(name, "rows.tmp").open("wb"))
                    self._files[name].write(rows.float().contiguous().numpy().data)
                except OSError as error:
                    raise write_failed(self._path(name, "rows"), error) from error

    def mapped(self) -> dict[str, Tensor]:
        """All rows under each name; every rank must ask, and nothing is added afterwards."""
        self._open.close()
        for name in self._files:
            self._path(name, "rows.tmp").replace(self._path(name, "rows"))
        wait_for_all(self.ranks)
        return {name: self._map(name, *size) for name, size in self._sizes.items()}

    def _map(self, name: str, rows: int, size: int) -> Tensor:
        if not rows * size:
            return torch.empty(rows, size)
        # Private: whoever writes into the tensor writes into memory.
        return torch.from_file(str(self._path(name, "rows")), shared=False, size=rows * size).view(rows, size)

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{f'{self.of_pass}@{name}'.replace('/', '@')}.{ending}"
