"""What is not finite is found in networks and optimiser, whatever the size of what is, and nowhere else."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from cprspec.components.backbones import Tiny
from cprspec.errors import CprspecError
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import new_encoder
from cprspec.training.not_finite import Made, stop_before_save

MADE = Made(epoch=1, step=9, loss=0.5, video_N=torch.tensor([1, 0]))


@pytest.fixture
def job(tmp_path):
    """What stopping asks of a job."""
    videos = [SimpleNamespace(name="a"), SimpleNamespace(name="b")]
    ranks = Ranks(rank=0, world=1, device=torch.device("cpu"))
    index, phase = SimpleNamespace(videos=videos), SimpleNamespace(name="rgb")
    return SimpleNamespace(ranks=ranks, folder=tmp_path, phase=phase, index=index)


@pytest.fixture
def stepper():
    """A query and a key encoder beside a bank that is not filled yet, one update made."""
    module = torch.nn.Module()
    module.query, module.key = (new_encoder(Tiny(width=0.25), 16, 0) for _ in range(2))
    module.register_buffer("constant", torch.tensor(float("nan")))
    return SimpleNamespace(module=module, encoder=module.query)


@pytest.fixture
def optimizer(stepper):
    made = torch.optim.SGD(stepper.encoder.parameters(), lr=0.1, momentum=0.9)
    for parameter in stepper.encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    return made


def test_finite_weights_of_any_size_pass(job, stepper, optimizer):
    with torch.no_grad():
        for parameter in stepper.encoder.parameters():
            parameter.fill_(3e38)
    stop_before_save(job, stepper, optimizer, MADE)
    assert not list(job.folder.iterdir())


@pytest.mark.parametrize("where", ["query", "key", "statistics", "optimizer"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_one_number_that_is_not_finite_stops_it(job, stepper, optimizer, where, value):
    network = stepper.module.key if where in ("key", "statistics") else stepper.encoder
    if where == "statistics":
        name, tensor = next((n, b) for n, b in network.named_buffers() if b.is_floating_point())
    else:
        name, tensor = next(network.named_parameters())
    if where == "optimizer":
        tensor = optimizer.state[tensor]["momentum_buffer"]
    tensor.data.view(-1)[-1] = value
    with pytest.raises(
        CprspecError, match=r"phase 'rgb', epoch 1, step 9: .* not finite, first .*; they were not saved"
    ):
        stop_before_save(job, stepper, optimizer, MADE)
    facts = json.loads((job.folder / "non-finite-step-000009.json").read_text())
    assert [shown["name"] for shown in facts["videos"]] == ["b", "a"]
    assert len(facts["state"]) == 1
    assert name in facts["state"][0]
    assert (facts["loss"], facts["gradients"]) == ("0.5", [])
