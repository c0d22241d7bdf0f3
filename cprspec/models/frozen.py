"""Encoders that learn no more: batch norm folded into the convolutions before it, and weights in bf16 where asked for.

In evaluation mode batch norm multiplies each channel by a number and adds another, so a convolution with other weights and a
bias gives the same but for rounding, and a pass over every activation is saved. Such an encoder is made where one is built
to be looked through only: the sampler that mines for another view, evaluation, `embed`. What is on disk is never folded, nor is
anything that learns or whose statistics move, such as MoCo's key encoder.

A module says in `norm_after` which batch norm is all that sees a convolution's output; in an `nn.Sequential` that is the
next layer. Whatever does not say so, as a backbone of a plugin may not, keeps its batch norms. So does what would not be the
same afterwards: transposed convolutions, layers with a forward pass of their own, with hooks or with parametrised weights
(weight norm), and the end of a sequence that stands in several places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from cprspec.models.separable import Conv3d

M = TypeVar("M", bound=nn.Module)

_DTYPES = {"float32": None, "bf16": torch.bfloat16}
"""What each of spec/kinds' PRECISIONS makes of weights; None leaves them."""


_CONVOLUTIONS = {kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv3d)}
_NORMS = {_BatchNorm.forward, nn.SyncBatchNorm.forward}
"""Forward passes that folding knows, whatever class inherits them."""


def freeze(network: M, precision: str = "float32") -> M:
    """`network` itself, in evaluation mode, without gradients and with batch norms folded.

    `precision` is of weights and activations: float32 leaves them as they are, bf16 changes features in the third digit.
    """
    network.eval().requires_grad_(False)
    places = Counter(child for module in network.modules() for child in module._modules.values())
    for module in [*network.modules()]:
        for conv, norm in [*_pairs(module)]:
            if all(places[within] == 1 and not _hooked(within) for within in _around(module, conv)):
                _fold(module, conv, norm)
    return network.to(_DTYPES[precision])


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Paths within `module` of convolutions, each with the name of the batch norm that follows it."""
    yield from getattr(module, "norm_after", {}).items()
    if type(module).forward is nn.Sequential.forward:
        for before, after in pairwise(module._modules):  # a layer that stands in it twice, twice
            yield _last(module, before), after


def _last(module: nn.Module, path: str) -> str:
    """The path of what gives the output of the layer at `path`: the last one where that is a sequence."""
    layer = module.get_submodule(path)
    if type(layer).forward is nn.Sequential.forward and len(layer._modules):
        return _last(module, f"{path}.{[*layer._modules][-1]}")
    return path


def _around(module: nn.Module, path: str) -> Iterator[nn.Module]:
    """The modules between `module` and the layer at `path`."""
    for name in path.split(".")[:-1]:
        module = module.get_submodule(name)
        yield module


def _fold(module: nn.Module, path: str, norm: str) -> None:
    conv, batch_norm = module.get_submodule(path), getattr(module, norm)
    if not isinstance(conv, _ConvNd) or not isinstance(batch_norm, _BatchNorm) or batch_norm.running_mean is None:
        return
    if _plain(conv, _CONVOLUTIONS) and _plain(batch_norm, _NORMS):
        module.set_submodule(path, fuse_conv_bn_eval(conv, batch_norm))
        setattr(module, norm, nn.Identity())


def _plain(layer: nn.Module, forwards: Set[Callable[..., Tensor]]) -> bool:
    """Whether a layer does nothing but one of `forwards`, with weights that are its own."""
    return getattr(layer.forward, "__func__", None) in forwards and not is_parametrized(layer) and not _hooked(layer)


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
