"""Golden checks of S3D: published names, outputs, gradients, gating."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from cprspec.models.s3d import S3D, Block
from cprspec.models.widths import block_size


def load_network(weights, dtype):
    network = S3D().to(dtype)
    network.load_state_dict({k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()})
    return network


def check_weights(golden):
    network = load_network(golden.tensors, torch.float32)
    state = network.state_dict()
    assert len(state) == 462
    assert all(torch.equal(state[key], golden[key].to(state[key].dtype)) for key in state)
    listed = golden.file.with_name("s3d_checkpoint_keys.json")
    if listed.exists():
        published = json.loads(listed.read_text())["s3d_backbone"]
        own = {key: list(value.shape) for key, value in state.items()}
        assert own == {key: shape for key, (shape, _) in published.items() if not key.startswith("block")}
        # A published checkpoint holds everything twice; the second copy is ignored, even if it is of another shape.
        network.load_state_dict(state | {key: torch.zeros(1) for key in published if key.startswith("block")})
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def check_io(golden):
    weights = load_file(golden.file.with_name(golden.facts["weights"]))
    network = load_network(weights, torch.float32).eval()
    for case in ("eval0", "eval1"):
        with torch.no_grad():
            stages = network.stages(golden[f"{case}.input"].float())
        _near(stages[-1], golden[f"{case}.map"], 5e-5)
        _near(stages[-1].mean((2, 3, 4)), golden[f"{case}.pooled"], 5e-5)
        for number, stage in enumerate(stages[:4], start=1):
            _near(stage.mean((2, 3, 4)), golden[f"{case}.block{number}_mean"], 5e-5)
    _check_training(golden, load_network(weights, torch.float64).train())


def _check_training(golden, network):
    pooled = network(golden["train.input"].double()).mean((2, 3, 4))
    loss = (pooled * golden["train.loss_weight"].double()).sum()
    loss.backward()
    _near(pooled, golden["train.pooled"], 1e-7)
    _near(loss, golden["train.loss"], 1e-7)
    parameters = dict(network.named_parameters())
    for key, expected in golden.under("train.grad.").items():
        grad = parameters[key].grad
        _near(grad[:32] if grad.ndim == 5 else grad, expected, 1e-7)
    state = network.state_dict()
    for key, expected in golden.under("train.after.").items():
        _near(state[key], expected, 1e-7)


def check_gated_block(golden):
    widths = tuple(golden.facts["out_planes"])
    block = Block(golden.facts["in_planes"], widths, gating=True)
    block.load_state_dict(golden.under("weights."))
    with torch.no_grad():
        output = block.eval()(golden["input"])
    assert output.shape[1] == block_size(widths)
    assert_close(output, golden["output"], atol=1e-5, rtol=0)


def _near(found, expected, share):
    assert_close(found, expected, atol=share * expected.abs().max().item(), rtol=0)
    assert expected.abs().max() == pytest.approx(found.detach().abs().max().item(), rel=1e-2)
