"""S3D against the published layout and against torchvision's network of the same graph."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from cprspec.components.backbones import S3D as S3DOptions  # noqa: N811
from cprspec.models.s3d import S3D
from cprspec.models.widths import BLOCKS, scaled

STAGES = dict(zip(BLOCKS, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))
"""At which position torchvision keeps each block."""


def torchvision_name(name):
    """Where torchvision keeps the tensor that the published layout calls `name`."""
    layer, *inside, leaf = name.split(".")
    pair = {"conv": "0", "bn": "1", "conv1": "0.0", "bn1": "0.1", "conv2": "1.0", "bn2": "1.1"}[inside.pop()]
    place = {"Conv_1a": "features.0", "Conv_2b": "features.2", "Conv_2c": "features.3"}.get(layer)
    if place is None:
        branch, position = inside
        place = f"features.{STAGES[layer]}.{branch}"
        place += "" if branch == "branch0" else f".{position}"
    return f"{place}.{pair}.{leaf}"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = S3D()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            # The small initial values would hide differences.
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
    return network


def test_size_and_names(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_910_048
    assert len(network.state_dict()) == 462
    assert {"Conv_1a.conv1.weight", "Mixed_3b.branch1.1.bn2.bias", "Mixed_5c.branch3.1.conv.weight"} <= set(
        network.state_dict()
    )


@pytest.mark.parametrize("training", [False, True])
def test_same_as_torchvision(network, training):
    from torchvision.models.video import s3d

    # In float64: sums are in another order, and batch norm over a few values of the last blocks magnifies that.
    ours, theirs = deepcopy(network).double(), s3d(norm_layer=nn.BatchNorm3d).double()
    theirs.classifier = nn.Identity()
    state = {torchvision_name(name): value for name, value in ours.state_dict().items()}
    assert set(state) == set(theirs.state_dict())
    theirs.load_state_dict(state)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 8, 64, 64, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 1024, 1, 2, 2, generator=generator, dtype=torch.float64)
    our_map, their_map = ours.train(training)(x), theirs.train(training).features(x)
    assert_near(our_map, their_map, 1e-9)
    for found in (our_map, their_map):
        (found * weight).sum().backward()
    gradients, statistics = dict(theirs.named_parameters()), theirs.state_dict()
    for name, parameter in ours.named_parameters():
        assert_near(parameter.grad, gradients[torchvision_name(name)].grad, 1e-8)
    for name, value in ours.state_dict().items():
        assert_near(value, statistics[torchvision_name(name)], 1e-9)


def assert_near(found, expected, share):
    """Equal within a share of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= share * expected.abs().max()


@pytest.mark.parametrize(("width", "gating"), [(0.125, False), (0.25, True), (1.0, False)])
def test_small_inputs_and_widths(width, gating):
    options = S3DOptions(width=width, gating=gating)
    small = options.build()
    with torch.no_grad():
        output = small(torch.randn(2, 3, 8, 32, 32))
    assert output.shape == (2, options.feature_size, 1, 1, 1)
    assert small.feature_size == options.feature_size


def test_every_width_is_a_multiple_of_four():
    assert all(scaled(n, w) % 4 == 0 and scaled(n, w) >= 4 for n in (16, 24, 64, 208) for w in (0.01, 0.1, 0.33, 1, 3))
    assert all(scaled(n, 1) == n for widths in BLOCKS.values() for n in widths)


def test_second_copies_are_ignored_also_inside_an_encoder():
    # Published checkpoints hold every tensor again under block1 ... block5.
    small = nn.Sequential(S3D(width=0.125))
    state = small.state_dict()
    small.load_state_dict(
        state
        | {"0.block1.0.conv1.weight": torch.zeros(3), "0.block4.5.branch0.0.bn.weight": state["0.Conv_2b.bn.bias"]}
    )
    with pytest.raises(RuntimeError, match=r"Unexpected key.*block6"):
        small.load_state_dict(state | {"0.block6.0.conv1.weight": torch.zeros(3)})


def test_initial_values_and_batch_norm():
    torch.manual_seed(0)
    network = S3D(width=0.5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    values = torch.cat([m.weight.flatten() for m in convolutions])
    assert values.std().item() == pytest.approx(0.01, rel=0.01)
    assert all(m.bias is None for m in convolutions)
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_gates_weigh_channels():
    torch.manual_seed(0)
    plain, gated = S3D(width=0.125), S3D(width=0.125, gating=True)
    gated.load_state_dict(plain.state_dict(), strict=False)
    for name, parameter in gated.named_parameters():
        if "gating" in name:
            nn.init.constant_(parameter, 0.0)
    block = "Mixed_3b"
    x = torch.rand(1, 24, 2, 4, 4)
    with torch.no_grad():
        half = getattr(gated.eval(), block)(x)
        whole = getattr(plain.eval(), block)(x)
    # A gate of zero weights is sigmoid(0) = 1/2 everywhere.
    torch.testing.assert_close(half, whole / 2)
