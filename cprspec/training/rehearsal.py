"""An optimiser step without data or arithmetic, to see how much memory it takes at most.

The framework's own module makes a forward and a backward pass on the meta device, where tensors have shapes and no content,
while every storage is counted from when it is made until nobody holds it. What a kernel takes for itself is not seen, nor
where things lie: `HOLES` stands for that.

Legend: N clips of a micro-batch, K bank rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from attrs import evolve
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cprspec.components import frameworks
from cprspec.models.encoders import build_encoder
from cprspec.models.frozen import freeze
from cprspec.models.parts import use_recompute
from cprspec.spec.kinds import View
from cprspec.spec.schema import Phase
from cprspec.training.build import iic_of, moco_of

HOLES = 4
"""Blocks as large as the largest that come on top of what a step holds: glibc does not find room for an aligned block where
one of just that size was, so a heap has holes. From 1 to 6 were found by benchmarks/memory.py."""


class Counting(TorchDispatchMode):
    """Counts the bytes of every tensor that is made inside: `now`, and at most so far, `peak`; the `largest` single one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self.largest: int = 0
        self._living: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the operator and count what it gives."""
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return output

    def count(self, storage: torch.UntypedStorage) -> None:
        """Count a storage from now until it is gone."""
        key, size = storage._cdata, storage.nbytes()
        if key in self._living:
            return

        def gone(_: weakref.ref[Any]) -> None:
            self.now -= size
            del self._living[key]

        self._living[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
        self.largest = max(self.largest, size)


class InBf16(nn.Module):
    """A network as autocast runs it: in bf16, with clips that come as float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(torch.bfloat16)

    def forward(self, clip: Tensor) -> Tensor:
        """`network(clip)`."""
        output: Tensor = self.network(clip.to(torch.bfloat16))
        return output


def step_bytes(
    phase: Phase, sampler_phase: Phase | None, views: Mapping[str, View], clips: int, *, groups: int, recompute: bool
) -> int:
    """What a step of `clips` clips takes at most, beside weights, optimiser and bank: bytes.

    In it are the clips as bytes and as floats, what back-propagation keeps, scores of the bank, gradients. `groups`: batch
    norm's of this process. `sampler_phase`: the one whose encoder mines. RuntimeError or NotImplementedError from networks
    that look at numbers.
    """
    alike = partial(evolve, name="", epochs=1, seed=0, start_from=None, mine_with=None, miner=None)
    sampler = alike(sampler_phase) if sampler_phase is not None else None
    return _rehearse(alike(phase), sampler, tuple(views.items()), clips, groups, recompute)


@cache  # phases of a recipe are often alike in all that counts here
def _rehearse(
    phase: Phase,
    sampler_phase: Phase | None,
    views: tuple[tuple[str, View], ...],
    clips: int,
    groups: int,
    recompute: bool,
) -> int:
    with torch.device("meta"):
        encoder = build_encoder(phase)
        use_recompute(encoder[0], recompute)
        network = InBf16(encoder) if phase.precision == "bf16" else encoder
        step: Callable[[list[Tensor]], None]
        match phase.framework:
            case frameworks.MoCo() as moco:
                sampler = freeze(build_encoder(sampler_phase)) if sampler_phase is not None else None
                lower = InBf16(sampler) if sampler is not None and phase.precision == "bf16" else sampler
                width = sampler.embedding if sampler is not None else None
                how: dict[str, Any] = {"bn_groups": groups, "mining_embedding": width}
                step = partial(_moco_step, moco_of(phase, moco, dict(views), network, sampler_phase, lower, **how))
            case frameworks.IIC() as iic:
                source_V = torch.empty(iic.negatives + 1, dtype=torch.int64)
                how = {"embedding": encoder.embedding, "source_V": source_V, "bn_groups": groups}
                step = partial(_iic_step, iic_of(phase, iic, dict(views), network, **how), iic.negatives)
            case _:
                raise NotImplementedError(f"framework '{phase.framework.name}' cannot be rehearsed")
        counting = Counting()
        with counting:
            shape = (clips, phase.clip.frames, phase.clip.size, phase.clip.size, 3)
            step([torch.empty(shape, dtype=torch.uint8) for _ in range(3)])
    return counting.peak + HOLES * counting.largest


def _moco_step(model: nn.Module, clips: list[Tensor]) -> None:
    ids_N = torch.empty(len(clips[0]), dtype=torch.int64)
    model.train()(*clips, ids_N, ids_N, permutation_M=ids_N, drop_own=True).loss.backward()


def _iic_step(model: nn.Module, negatives: int, clips: list[Tensor]) -> None:
    column_NC = torch.empty(len(clips[0]), negatives + 1, dtype=torch.int64)
    intra_N2 = torch.empty(len(clips[0]), 2, dtype=torch.int64)
    model.train()(clips[0], clips[1], column_NC, intra_N2=intra_N2).loss.backward()
