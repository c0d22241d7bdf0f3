"""Batch norm in groups against separate networks."""

import copy

import pytest
import torch
from torch import nn

from cprspec.errors import CprspecError
from cprspec.learning.groups import in_groups


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3), nn.ReLU(), nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3))


def test_each_group_has_its_own_statistics_and_the_first_is_remembered():
    network, alone = make(), make()
    x = torch.randn(6, 2, 2, 3, 3) * torch.arange(1.0, 7.0)[:, None, None, None, None]
    output = in_groups(network, x, 3)
    parts = [copy.deepcopy(alone)(part) for part in x.chunk(3)]
    torch.testing.assert_close(output, torch.cat(parts))
    assert not torch.allclose(output, copy.deepcopy(alone)(x))
    alone(x[:2])
    for key, value in network.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key]), key
    assert all(m.track_running_stats for m in network.modules() if isinstance(m, nn.BatchNorm3d))


def test_gradients_reach_every_group():
    network = make()
    x = torch.randn(4, 2, 2, 3, 3, requires_grad=True)
    in_groups(network, x, 2).square().sum().backward()
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


def test_in_evaluation_groups_make_no_difference():
    network = make().eval()
    x = torch.randn(4, 2, 2, 3, 3)
    torch.testing.assert_close(in_groups(network, x, 2), network(x))


def test_unequal_groups_are_refused():
    with pytest.raises(CprspecError, match="6 clips cannot be normalised in 4"):
        in_groups(make(), torch.randn(6, 2, 2, 3, 3), 4)
