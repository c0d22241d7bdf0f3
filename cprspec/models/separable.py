"""Convolutions of clips that look over space or over time, as the two-dimensional ones that processors are fast at.

The layers here are torch's own: same parameters, same names, same numbers but for the order of sums. What differs is the way.
Activations stay `[N,C,T,H,W]` with the channels last in memory (N,T,H,W,C), of which both of these are views:

| kernel | seen as | convolution |
|---|---|---|
| (1,k,k), and 1x1x1 | `[N*T,C,H,W]`: every frame a picture | conv2d with a kernel of k x k |
| (k,1,1) | `[N,C,T,H*W]`: every pixel a row of the picture | conv2d with a kernel of k x 1 |

so nothing is copied between a convolution in space and the one in time that follows it. Kernels over both (3x3x3) stay
conv3d, in the same memory. Which way is faster is a fact of the processor: on a CPU this one, by benchmarks/s3d_speed.py; on
others `whole_is_faster` measures it and `use_whole` sets it.

Shapes: N clips, C and O channels, T frames, H x W pixels, P = H*W, K frames of a kernel.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Triple = tuple[int, int, int]
"""Of a kernel, a stride or a padding: time, height, width."""


def channels_last(x_NCTHW: Tensor) -> Tensor:
    """The same values with N,T,H,W,C memory; no copy if they have it already, as clips from bytes do."""
    return x_NCTHW.contiguous(memory_format=torch.channels_last_3d)


def as_pictures(x_NCTHW: Tensor) -> Tensor:
    """`[N,C,T,H,W] -> [N*T,C,H,W]`, a view of N,T,H,W,C memory."""
    return x_NCTHW.transpose(1, 2).flatten(0, 1)


def as_clips(x_MCHW: Tensor, clips: int) -> Tensor:
    """`[N*T,C,H,W] -> [N,C,T,H,W]` for N `clips`, a view."""
    x_NTCHW: Tensor = x_MCHW.unflatten(0, (clips, -1))
    return x_NTCHW.transpose(1, 2)


class Conv3d(nn.Conv3d):
    """torch's, without dilation or groups, the way of this module. `whole`: by conv3d instead."""

    whole = False

    def forward(self, input: Tensor) -> Tensor:
        """`[N,C,T,H,W] -> [N,O,t,h,w]`."""
        stride, padding = cast("Triple", self.stride), cast("Triple", self.padding)
        return convolve(input, self.weight, self.bias, stride, padding, whole=self.whole)


def convolve(
    x_NCTHW: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Triple = (1, 1, 1),
    padding: Triple = (0, 0, 0),
    *,
    whole: bool = False,
) -> Tensor:
    """conv3d of clips in N,T,H,W,C memory with `weight` `[O,C,k,k,k]`; see the module for the ways."""
    if whole:
        return functional.conv3d(x_NCTHW, weight, bias, stride, padding)
    if weight.shape[2] == stride[0] == 1 and padding[0] == 0:
        pictures = functional.conv2d(as_pictures(x_NCTHW), weight.squeeze(2), bias, stride[1:], padding[1:])
        return as_clips(pictures, len(x_NCTHW))
    if weight.shape[3:] == stride[1:] == (1, 1) and padding[1:] == (0, 0):
        y_NOTP = _in_time(x_NCTHW.flatten(3), weight.squeeze(4), bias, stride[0], padding[0])
        y_NCTHW: Tensor = y_NOTP.unflatten(3, x_NCTHW.shape[3:])
        return y_NCTHW
    return functional.conv3d(x_NCTHW, weight, bias, stride, padding)


def _in_time(x_NCTP: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """conv2d of `x_NCTP` with `weight` `[O,C,K,1]`."""
    low = weight.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if weight.device.type != "cpu" or low or not torch.is_grad_enabled():
        return functional.conv2d(x_NCTP, weight, bias, (stride, 1), (padding, 0))
    y_NOTP: Tensor = _InTime.apply(x_NCTP, weight, stride, padding)
    return y_NOTP if bias is None else y_NOTP + bias[:, None, None]


class _InTime(torch.autograd.Function):
    """conv2d along T with a faster gradient of the weights, for float32 on a CPU.

    For such long rows oneDNN's own runs at a third of the processor's float32 rate; a product of the gradient of each
    output frame with the K input frames it was made of runs at four fifths.
    """

    @staticmethod
    def forward(ctx: Any, x_NCTP: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x_NCTP, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x_NCTP, weight, None, (stride, 1), (padding, 0))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NCTP, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        of_x, _, _ = torch.ops.aten.convolution_backward(
            grads[0], x_NCTP, weight, None, (stride, 1), (padding, 0), (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0], False, False),
        )  # fmt: skip
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = _gradient_of_taps(x_NCTP, grads[0], weight.shape[2], stride, padding)
        return of_x, of_weight, None, None


def _gradient_of_taps(x_NCTP: Tensor, grad_NOTP: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """The gradient `[O,C,K,1]` of the kernel: sum over output frames of gradient times the `taps` frames it was made of."""
    x_NTPC, grad_NTOP = x_NCTP.permute(0, 2, 3, 1), grad_NOTP.transpose(1, 2)
    frames = x_NTPC.shape[1]
    of_taps_KOC = x_NCTP.new_zeros(taps, grad_NOTP.shape[1], x_NCTP.shape[1])
    for x_TPC, grad_TOP in zip(x_NTPC, grad_NTOP, strict=True):
        for t, grad_OP in enumerate(grad_TOP):
            before = t * stride - padding
            first, last = max(0, -before), min(taps, frames - before)
            seen_KPC = x_TPC[before + first : before + last]
            of_taps_KOC[first:last].baddbmm_(grad_OP.expand(len(seen_KPC), -1, -1), seen_KPC)
    return of_taps_KOC.permute(1, 2, 0).unsqueeze(3)


class MaxPool3d(nn.MaxPool3d):
    """torch's, in the precision of its input, and in a faster way for 3x3x3 with stride 1 where no gradients are wanted.

    Autocast on a CPU would pool in float32, which changes no maximum and costs twice. The faster way: as the largest of
    shifted copies.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`[N,C,T,H,W] -> [N,C,t,h,w]`."""
        shifts = (self.kernel_size, self.stride, self.padding) == (3, 1, 1)
        if input.device.type == "cpu" and shifts and not torch.is_grad_enabled():
            return _largest_of_three(_largest_of_three(_largest_of_three(input, 4), 3), 2)
        with torch.autocast("cpu", enabled=False):
            pooled: Tensor = super().forward(input)
        return pooled


def _largest_of_three(x: Tensor, dim: int) -> Tensor:
    """The largest of each value and those before and after it along `dim`."""
    largest, rest = x.clone(memory_format=torch.preserve_format), x.shape[dim] - 1
    but_last, but_first = largest.narrow(dim, 0, rest), largest.narrow(dim, 1, rest)
    torch.maximum(but_last, x.narrow(dim, 1, rest), out=but_last)
    torch.maximum(but_first, x.narrow(dim, 0, rest), out=but_first)
    return largest


def relu_of_norm(x_NCTHW: Tensor, norm: nn.Module) -> Tensor:
    """ReLU after batch norm, written over what batch norm gives (which nothing else needs).

    `norm` may be the identity: models/frozen.py.
    """
    return functional.relu(norm(x_NCTHW), inplace=True)


def join_channels(parts: Sequence[Tensor]) -> Tensor:
    """Clips `[N,C,T,H,W]` side by side in C, in N,T,H,W,C memory."""
    return torch.cat([part.permute(0, 2, 3, 4, 1) for part in parts], dim=4).permute(0, 4, 1, 2, 3)


def side_by_side(x_NCTHW: Tensor, convs: Sequence[Conv3d], norms: Sequence[nn.Module]) -> list[Tensor]:
    """What each 1x1x1 convolution, its batch norm and ReLU make of the same clips, computed as one wide convolution.

    Either the convolutions have no bias, and the batch norms are alike but for their channels, whose statistics stay their
    own; or each batch norm is folded into its convolution's weights and bias (models/frozen.py).
    """
    weight, whole = torch.cat([conv.weight for conv in convs]), convs[0].whole
    biases = [conv.bias for conv in convs if conv.bias is not None]
    y_NOTHW = convolve(x_NCTHW, weight, torch.cat(biases) if biases else None, whole=whole)
    if not biases:
        y_NOTHW = _normed_side_by_side(y_NOTHW, cast("Sequence[nn.BatchNorm3d]", norms))
    return list(functional.relu(y_NOTHW, inplace=True).split([conv.out_channels for conv in convs], dim=1))


def _normed_side_by_side(x_NCTHW: Tensor, norms: Sequence[nn.BatchNorm3d]) -> Tensor:
    """The channels of `x_NCTHW` through the batch norm that they belong to."""
    first = norms[0]
    weight_C, bias_C = (torch.cat([getattr(norm, name) for norm in norms]) for name in ("weight", "bias"))
    momentum = cast("float", first.momentum)
    if first.training and not first.track_running_stats:
        return functional.batch_norm(x_NCTHW, None, None, weight_C, bias_C, True, momentum, first.eps)
    mean_C, var_C = (torch.cat([getattr(norm, f"running_{name}") for norm in norms]) for name in ("mean", "var"))
    normed = functional.batch_norm(x_NCTHW, mean_C, var_C, weight_C, bias_C, first.training, momentum, first.eps)
    if first.training:
        sizes = [norm.num_features for norm in norms]
        for norm, mean, var in zip(norms, mean_C.split(sizes), var_C.split(sizes), strict=True):
            cast("Tensor", norm.running_mean).copy_(mean)
            cast("Tensor", norm.running_var).copy_(var)
            cast("Tensor", norm.num_batches_tracked).add_(1)
    return normed


def use_whole(network: nn.Module, whole: bool) -> None:
    """Compute every convolution of `network` by conv3d (True), or in two dimensions where that is possible."""
    for module in network.modules():
        if isinstance(module, Conv3d):
            module.whole = whole


def whole_is_faster(
    network: nn.Module,
    clip_NCTHW: Tensor,
    autocast: torch.dtype | None = None,
    rounds: int = 5,
    *,
    learning: bool = True,
) -> bool:
    """Whether forward and backward of `clip_NCTHW` are faster by conv3d, by the median of `rounds`.

    Forward alone in evaluation mode where it is not `learning`. `network` stays as it is: a copy is measured.
    """
    network = deepcopy(network).train(learning)
    device = clip_NCTHW.device
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(1 + rounds):
        for whole, of_way in seconds.items():
            use_whole(network, whole)
            began = time.perf_counter()
            with torch.set_grad_enabled(learning), torch.autocast(device.type, autocast, enabled=autocast is not None):
                output: Tensor = network(clip_NCTHW)
            if learning:
                output.float().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            of_way.append(time.perf_counter() - began)
    split_s, whole_s = (
        statistics.median(of_way[1:]) for of_way in (seconds[False], seconds[True])
    )  # the first warms up
    return whole_s < split_s
