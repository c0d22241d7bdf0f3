"""Convolutions in two dimensions against torch's in three: outputs, gradients, statistics, memory."""

import pytest
import torch
from torch import nn

from cprspec.components.backbones import R2D3D50, S3D, ResNet3D
from cprspec.models.frozen import freeze
from cprspec.models.separable import (
    Conv3d,
    as_clips,
    as_pictures,
    channels_last,
    convolve,
    side_by_side,
    use_whole,
    whole_is_faster,
)


def clips(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "bias"),
    [
        ((1, 1, 1), (1, 1, 1), (0, 0, 0), True),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1), False),
        ((1, 1, 1), (1, 2, 2), (0, 0, 0), False),
        ((1, 1, 1), (2, 1, 1), (0, 0, 0), False),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0), True),
        ((7, 1, 1), (2, 1, 1), (3, 0, 0), False),
        ((7, 1, 1), (1, 1, 1), (0, 0, 0), False),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1), True),
    ],
)
@pytest.mark.parametrize("frames", [7, 8])
def test_same_as_conv3d(kernel, stride, padding, bias, frames):
    torch.manual_seed(0)
    ours = Conv3d(5, 6, kernel, stride, padding, bias=bias).double()
    theirs = nn.Conv3d(5, 6, kernel, stride, padding, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    found = []
    for conv in (ours, theirs):
        x = channels_last(clips(2, 5, frames, 6, 4)).requires_grad_()
        y = conv(x)
        y.backward(clips(*y.shape, seed=1))
        found.append([y, x.grad, *(p.grad for p in conv.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * b.abs().max().item())


def test_views_share_memory_and_outputs_keep_the_layout():
    x = channels_last(clips(2, 4, 3, 6, 5).float())
    assert channels_last(x).data_ptr() == as_pictures(x).data_ptr() == x.flatten(3).data_ptr() == x.data_ptr()
    assert torch.equal(as_clips(as_pictures(x), 2), x)
    for kernel in ((1, 3, 3), (3, 1, 1)):
        y = convolve(x, torch.randn(8, 4, *kernel))
        assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_side_by_side_is_each_by_itself(training, tracked):
    torch.manual_seed(0)
    convs = [Conv3d(5, n, 1, bias=False).double() for n in (4, 2, 3)]
    norms = [nn.BatchNorm3d(n).double().train(training) for n in (4, 2, 3)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.running_var.uniform_(0.5, 1.5)
        norm.track_running_stats = tracked  # how learning/groups.py holds the statistics
    before = [norm.state_dict() for norm in norms]
    before = [{key: value.clone() for key, value in state.items()} for state in before]
    x = channels_last(clips(2, 5, 3, 4, 4))
    together = side_by_side(x, convs, norms)
    after = [{key: value.clone() for key, value in norm.state_dict().items()} for norm in norms]
    for conv, norm, state, part, left in zip(convs, norms, before, together, after, strict=True):
        norm.load_state_dict(state)
        torch.testing.assert_close(part, torch.relu(norm(conv(x))), rtol=0, atol=1e-12)
        for key, value in norm.state_dict().items():
            torch.testing.assert_close(left[key], value, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "options", [S3D(width=0.125, gating=True), ResNet3D(width=0.125, factored=True), R2D3D50(width=0.125)]
)
def test_whole_networks_give_the_same_both_ways(options):
    torch.manual_seed(0)
    network = options.build().double().eval()
    x = clips(2, 3, 8, 32, 32)
    found = {}
    for whole in (False, True):
        use_whole(network, whole)
        network.zero_grad()
        output = network(x)
        output.square().sum().backward()
        found[whole] = [output, *(p.grad.clone() for p in network.parameters())]
    for a, b in zip(found[False], found[True], strict=True):
        assert (a - b).abs().max() <= 1e-9 * b.abs().max()


def test_measuring_leaves_the_network_alone():
    network = S3D(width=0.125).build().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert whole_is_faster(network, torch.randn(2, 3, 8, 32, 32), rounds=1) in (True, False)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not network.training
    assert not any(module.whole for module in network.modules() if isinstance(module, Conv3d))


def test_measuring_a_frozen_network():
    network = freeze(S3D(width=0.125).build())
    clip = torch.randn(2, 3, 8, 32, 32)
    with torch.inference_mode():
        assert whole_is_faster(network, clip, rounds=1, learning=False) in (True, False)
    assert not any(module.whole for module in network.modules() if isinstance(module, Conv3d))
