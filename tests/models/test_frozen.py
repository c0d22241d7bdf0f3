"""Frozen encoders give what they gave before batch norms were folded; nothing else about them changes."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cprspec.components.backbones import C3D, R2D3D50, S3D, ResNet3D, Tiny
from cprspec.models.frozen import freeze
from cprspec.models.heads import Encoder
from cprspec.models.separable import MaxPool3d, channels_last

BACKBONES = [
    S3D(width=0.125),
    S3D(width=0.0625, gating=True),
    Tiny(width=0.5),
    ResNet3D(width=0.125),
    ResNet3D(width=0.125, blocks=2, factored=True),
    C3D(width=0.0625),
    R2D3D50(width=0.0625),
]


def norms(network):
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def learned(backbone, dtype):
    """An encoder whose batch norms have statistics, scales and shifts that are all different."""
    torch.manual_seed(0)
    network = Encoder(backbone.build(), backbone.feature_size, 8).to(dtype)
    clip = torch.randn(2, 3, 8, 32, 32, dtype=dtype)
    with torch.no_grad():
        for norm in norms(network):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
            norm.momentum = 1.0
        network.train()(clip)
        for norm in norms(network):
            # No channel as good as constant: its rounding would be all that is seen of it.
            norm.running_var.add_(norm.running_var.mean() * torch.rand_like(norm.running_var).add(0.5))
    return network.eval(), clip


@pytest.mark.parametrize("backbone", BACKBONES, ids=repr)
def test_same_features_and_embeddings(backbone):
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        network, clip = learned(backbone, dtype)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        frozen = freeze(deepcopy(network))
        assert not norms(frozen)
        assert not any(parameter.requires_grad for parameter in frozen.parameters())
        with torch.inference_mode():
            for ours, theirs in ((frozen.features, network.features), (frozen, network)):
                found, expected = ours(clip), theirs(clip)
                assert (found - expected).norm() <= tolerance * expected.norm()
        assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_bf16_is_near():
    network, clip = learned(S3D(width=0.125), torch.float32)
    frozen = freeze(deepcopy(network), "bf16")
    assert {parameter.dtype for parameter in frozen.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        found, expected = frozen.features(clip.bfloat16()), network.features(clip)
        assert 0 < (found.float() - expected).norm() <= 2e-2 * expected.norm()


def test_torchvisions_sequences_fold_too():
    within = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 5, 1, bias=False))
    network = nn.Sequential(within, nn.BatchNorm3d(5), nn.ReLU()).double()
    clip = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64)
    network.train()(clip)
    expected = network.eval()(clip)
    assert not norms(freeze(network))
    torch.testing.assert_close(network(clip), expected)


def test_what_does_not_say_its_order_stays():
    class Pre(nn.Module):
        """Batch norm before the convolution, under names that others use the other way round."""

        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3)

        def forward(self, x):
            return self.conv1(self.bn1(x))

    class Odd(nn.Sequential):
        """A sequence that is none."""

        def forward(self, x):
            return self[1](x) + self[0](x)

    network = nn.Sequential(Pre(), Odd(nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3)))
    network.train()(torch.randn(2, 3, 2, 4, 4))
    clip = torch.randn(2, 3, 2, 4, 4)
    expected = network.eval()(clip)
    assert len(norms(freeze(network))) == 2
    assert torch.equal(network(clip), expected)


def conv(channels=3):
    return nn.Conv3d(3, channels, 3, padding=1)


def shared_relu():
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(conv(), nn.BatchNorm3d(3), relu, conv(), relu, nn.BatchNorm3d(3))


def shared_convolution():
    own = conv()
    return nn.Sequential(own, nn.BatchNorm3d(3), nn.ReLU(), own, nn.ReLU(), own, nn.BatchNorm3d(3))


def shared_norm():
    norm = nn.BatchNorm3d(3)
    return nn.Sequential(conv(), norm, nn.ReLU(), norm, conv(), norm)


def shared_sequence():
    within = nn.Sequential(nn.ReLU(), conv())
    return nn.Sequential(within, nn.BatchNorm3d(3), within, nn.Sequential(within, nn.BatchNorm3d(3)))


def transposed():
    return nn.Sequential(nn.ConvTranspose3d(3, 3, 2), nn.BatchNorm3d(3))


def weight_normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(conv()), nn.BatchNorm3d(3))


def weight_normed_the_old_way():
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(conv()), nn.BatchNorm3d(3))


def hooked(place, *, before=False):
    network = nn.Sequential(nn.Sequential(nn.ReLU(), conv()), nn.BatchNorm3d(3))
    layer = network.get_submodule(place)
    if before:
        layer.register_forward_pre_hook(lambda _, given: (given[0] * given[0],))
    else:
        layer.register_forward_hook(lambda _, given, out: out * out)
    return network


def forward_of_its_own():
    class Standardised(nn.Conv3d):
        """Weights that are not used as they are."""

        def forward(self, x):
            return self._conv_forward(x, self.weight / self.weight.std(), self.bias)

    return nn.Sequential(Standardised(3, 3, 1), nn.BatchNorm3d(3))


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (shared_relu, 1),
        (shared_convolution, 0),
        (shared_norm, 1),
        (shared_sequence, 2),
        (transposed, 1),
        (weight_normed, 1),
        (weight_normed_the_old_way, 1),
        (partial(hooked, "0.1"), 1),
        (partial(hooked, "0.1", before=True), 1),
        (partial(hooked, "0"), 1),
        (partial(hooked, "1"), 1),
        (partial(hooked, "1", before=True), 1),
        (forward_of_its_own, 1),
    ],
)
def test_only_what_stays_the_same_is_folded(build, left):
    torch.manual_seed(0)
    network, clip = build().double(), torch.randn(2, 3, 4, 6, 6, dtype=torch.float64)
    for norm in norms(network):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    network.train()(clip)
    expected = network.eval()(clip)
    found = freeze(network)(clip)
    torch.testing.assert_close(found, expected)
    assert len(norms(network)) == left


def test_freezing_twice_is_freezing_once():
    network, clip = learned(Tiny(), torch.float32)
    with torch.inference_mode():
        expected = freeze(network)(clip)
        assert torch.equal(freeze(network)(clip), expected)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 3), (4, 7, 5), (5, 2, 8)])
def test_pooling_without_gradients(size):
    x = channels_last(torch.randn(2, 6, *size))
    x[0, 0, 0, 0, 0] = torch.nan
    expected = nn.functional.max_pool3d(x, 3, 1, 1)
    pool = MaxPool3d(3, stride=1, padding=1)
    with torch.no_grad():
        found = pool(x)
    assert torch.equal(found.nan_to_num(9.0), expected.nan_to_num(9.0))
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    learning = x.clone().requires_grad_()
    pool(learning).nansum().backward()
    assert learning.grad is not None


@pytest.mark.parametrize("of", [(3, 1, 1), (3, 2, 1), ((1, 3, 3), (1, 2, 2), (0, 1, 1))])
def test_pooling_keeps_the_precision_under_autocast(of):
    x = channels_last(torch.randn(2, 6, 4, 7, 5)).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = MaxPool3d(*of)(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.float(), nn.functional.max_pool3d(x.float(), *of))
    found.sum().backward()
    assert x.grad is not None and x.grad.sum() == found.numel()
