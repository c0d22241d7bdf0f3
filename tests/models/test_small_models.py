"""The projection head and the tiny network."""

import pytest
import torch
from torch.nn.functional import conv3d

from cprspec.components.backbones import Tiny as TinyOptions
from cprspec.models.heads import Encoder
from cprspec.models.tiny import Tiny


def test_head_from_its_definition():
    torch.manual_seed(0)
    encoder = Encoder(Tiny(width=0.5), 64, 10).eval()
    clip = torch.randn(3, 3, 8, 32, 32)
    state = encoder.state_dict()
    assert {key for key in state if not key.startswith("0.")} == {"2.weight", "2.bias", "4.weight", "4.bias"}
    pooled = encoder[0](clip).mean((2, 3, 4))
    torch.testing.assert_close(encoder.features(clip), pooled)
    hidden = torch.relu(pooled @ state["2.weight"].flatten(1).T + state["2.bias"])
    expected = hidden @ state["4.weight"].flatten(1).T + state["4.bias"]
    torch.testing.assert_close(encoder(clip), expected)
    assert encoder(clip).shape == (3, 10)


@pytest.mark.parametrize(("width", "size"), [(0.25, 32), (1.0, 32), (1.0, 50)])
def test_tiny_shapes(width, size):
    options = TinyOptions(width=width)
    network = options.build()
    output = network(torch.randn(2, 3, 8, size, size))
    assert output.shape[:3] == (2, options.feature_size, 1)
    assert network.feature_size == options.feature_size


def test_tiny_is_small_and_its_layout_does_not_change_its_values():
    network = Tiny().double().eval()
    assert sum(p.numel() for p in network.parameters()) < 300_000
    x = torch.randn(2, 3, 4, 16, 16, dtype=torch.float64)
    first = conv3d(x, network.layers[0].weight, stride=(1, 2, 2), padding=1)
    torch.testing.assert_close(network.layers[0](x.contiguous(memory_format=torch.channels_last_3d)), first)
