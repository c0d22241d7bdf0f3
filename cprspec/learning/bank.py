"""The bank: the embeddings of past clips that queries are contrasted with and miners choose from (MoCo's queue).

A ring of K rows. Beside the key of the trained view it may hold the mining view's embedding of the same clip, and it
carries two opaque numbers for each row: which video and which source it came from, -1 where nothing was written yet.

Shapes: K rows, D features, M new rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cprspec.errors import CprspecError, Problem


class Bank(nn.Module):
    """Buffers `key_KD`, `mining_KD` (None without a mining view), `video_K`, `source_K` and `pointer`.

    Embeddings are kept as `dtype`; learning/similarity.py compares queries with them. Rows begin as random unit vectors drawn
    from `generator`: negatives as good as any until they are replaced.
    """

    key_KD: Tensor
    mining_KD: Tensor | None
    video_K: Tensor
    source_K: Tensor
    pointer: Tensor

    def __init__(
        self,
        size: int,
        embedding: int,
        mining_embedding: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.register_buffer("key_KD", normalize(torch.randn(size, embedding, generator=generator)).to(dtype))
        mining_KD = None
        if mining_embedding is not None:
            mining_KD = normalize(torch.randn(size, mining_embedding, generator=generator)).to(dtype)
        self.register_buffer("mining_KD", mining_KD)
        self.register_buffer("video_K", torch.full((size,), -1))
        self.register_buffer("source_K", torch.full((size,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self._full = False

    def __len__(self) -> int:
        return len(self.video_K)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._full = False
        super()._load_from_state_dict(*args, **kwargs)

    @property
    def filled_K(self) -> Tensor:
        """Which rows hold a clip."""
        return self.video_K >= 0

    @property
    def full(self) -> bool:
        """Whether every row holds a clip; a full bank stays full and is not looked at again, so that no GPU is waited for."""
        self._full = self._full or bool(self.filled_K.all())
        return self._full

    def siblings(self, source_N: Tensor) -> Tensor:
        """Which rows hold a clip of each query's own source, bool `[N,K]`."""
        return self.filled_K & (source_N[:, None] == self.source_K)

    @torch.no_grad()
    def enqueue(self, key_MD: Tensor, mining_MD: Tensor | None, video_M: Tensor, source_M: Tensor) -> None:
        """Write M rows over the oldest ones. `mining_MD` goes with banks that have a mining view."""
        if len(key_MD) > len(self):
            raise CprspecError(
                Problem(f"{len(key_MD)} clips do not fit into a bank of {len(self)}", hint="raise queue_size")
            )
        if (mining_MD is None) != (self.mining_KD is None):
            raise CprspecError("a bank with a mining view needs that view's embeddings, and only that one does")
        row_M = (self.pointer + torch.arange(len(key_MD), device=self.pointer.device)) % len(self)
        self.key_KD[row_M] = key_MD.to(self.key_KD.dtype)
        if self.mining_KD is not None and mining_MD is not None:
            self.mining_KD[row_M] = mining_MD.to(self.mining_KD.dtype)
        self.video_K[row_M] = video_M
        self.source_K[row_M] = source_M
        self.pointer.copy_((self.pointer + len(key_MD)) % len(self))
