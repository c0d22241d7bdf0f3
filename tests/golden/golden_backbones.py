"""Golden checks of the other backbones: names and shapes of every tensor, and outputs with weights that are not stored.

Each value of weights and input is a hash of its key and position, so files hold only what came out.
"""

import json
import zlib
from math import prod

import numpy as np
import torch
from torch.testing import assert_close

from cprspec.models.heads import conv5_features
from cprspec.spec.registry import builtin_registry

TRAINING_TOLERANCE = {"r2d3d50": 1e-3}
"""Where batch statistics of few values amplify rounding; 5e-5 of the largest output elsewhere."""


def uniform(key, count):
    """`count` numbers in [0,1), float64: a murmur finaliser over the position, seeded by the key's CRC32."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(zlib.crc32(key.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return x / 2.0**32


def value_of(name, shape, salt):
    """The tensor called `name` in a state dict."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    u = uniform(f"{salt}:{name}", prod(shape)).reshape(shape)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        u = 0.5 + u
    elif len(shape) == 1:
        u = (2 * u - 1) * 0.2
    else:
        u = (2 * u - 1) * (6 / prod(shape[1:])) ** 0.5
    return torch.from_numpy(u).float()


def check_backbone(golden):
    assert_close(uniform("probe", 3), np.array([0.36706088, 0.24055619, 0.10450829]), atol=1e-8, rtol=0)
    salt = golden.facts["salt"]
    name = salt.removesuffix("-a")
    component = _component(name)
    with torch.device("meta"):
        network = component.build()
    listed = [line.partition(" ") for line in golden.facts["state_keys"].splitlines()]
    shapes = {key: tuple(json.loads(shape)) for key, _, shape in listed}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    network.load_state_dict({key: value_of(key, shape, salt) for key, shape in shapes.items()}, assign=True)
    shape = golden.facts["input_shape"]
    clip = torch.from_numpy(2 * uniform(golden.facts["input_key"], prod(shape)) - 1).float().reshape(shape)
    with torch.no_grad():
        found = network.eval()(clip)
        trained = network.train()(clip).mean((2, 3, 4))
    assert found.shape[1] == component.feature_size == network.feature_size
    outputs = {"map": found, "pooled": found.mean((2, 3, 4)), "return_conv": conv5_features(found)}
    for key, expected in golden.tensors.items():
        share = TRAINING_TOLERANCE.get(name, 5e-5) if key == "train_pooled" else 5e-5
        output = trained if key == "train_pooled" else outputs[key]
        assert_close(output, expected, atol=share * expected.abs().max().item(), rtol=0, msg=lambda m: f"{key}: {m}")  # noqa: B023


def _component(name):
    """The component of the card `name` with the card's options."""
    card = builtin_registry().find("backbone", name)
    return card.component(**card.options)
