"""Backbones as parts that follow each other, so that back-propagation may keep what enters each part and no more.

That is activation checkpointing (Chen et al., arXiv:1604.06174): the backward pass computes a part's forward again when it
comes there. It costs a third forward pass (MoCo's key encoder makes the second) and changes no number: the same operations in
the same order, the same draws, and batch norm's running statistics move once, since the second time they are copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cprspec.errors import CprspecError, Problem

Layer = Callable[[Tensor], Tensor]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class InParts(nn.Module):
    """A backbone that runs part by part. `recompute`: back-propagation keeps the clips that enter a part, nothing within."""

    recompute = False

    def part(self, x_NCTHW: Tensor, *layers: Layer) -> Tensor:
        """One part: `layers` one after the other."""
        if not (self.recompute and torch.is_grad_enabled()):
            return _through(layers, x_NCTHW)
        if torch.compiler.is_compiling():  # statistics are moved by the graph's forward pass alone
            kept: Tensor = checkpoint(_through, layers, x_NCTHW, use_reentrant=False)
            return kept
        norms = [m for layer in layers if isinstance(layer, nn.Module) for m in layer.modules()]
        contexts = partial(_first_and_again, [m for m in norms if isinstance(m, _BatchNorm)])
        output: Tensor = checkpoint(_through, layers, x_NCTHW, use_reentrant=False, context_fn=contexts)
        return output


def use_recompute(backbone: nn.Module, wanted: bool) -> None:
    """Set whether `backbone` computes its parts again. CprspecError where it has none and shall."""
    if isinstance(backbone, InParts):
        backbone.recompute = wanted
    elif wanted:
        message = f"backbone {type(backbone).__name__} has no parts whose activations could be computed again"
        hint = "set launch.checkpoint_activations=false, or derive it from cprspec.models.parts.InParts"
        raise CprspecError(Problem(message, hint=hint))


def _through(layers: Sequence[Layer], x_NCTHW: Tensor) -> Tensor:
    for layer in layers:
        x_NCTHW = layer(x_NCTHW)
    return x_NCTHW


def _first_and_again(norms: Sequence[_BatchNorm]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around a part's forward pass, and around the same computed again."""
    return nullcontext(), _on_copies(norms, [norm.track_running_stats for norm in norms])


@contextmanager
def _on_copies(norms: Sequence[_BatchNorm], tracked: Sequence[bool]) -> Iterator[None]:
    # The same kind of pass as the first one, which may have been of a group that moves no statistics (learning/groups.py).
    before = [(norm.track_running_stats, {name: getattr(norm, name) for name in _STATISTICS}) for norm in norms]
    for norm, tracks in zip(norms, tracked, strict=True):
        norm.track_running_stats = tracks
        for name in _STATISTICS:
            if (own := getattr(norm, name)) is not None:
                setattr(norm, name, own.clone())
    try:
        yield
    finally:
        for norm, (tracks, statistics) in zip(norms, before, strict=True):
            norm.track_running_stats = tracks
            for name, own in statistics.items():
                setattr(norm, name, own)
