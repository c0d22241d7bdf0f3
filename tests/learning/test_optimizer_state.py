"""An optimiser's state goes on as if it had never been taken, and lies where the optimiser looks for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cprspec.components.optimizers import SGD, Adam
from cprspec.learning.optimizer_state import optimizer_tensors, restore_optimizer


def stepped(model, optimizer, steps):
    for number in range(steps):
        optimizer.zero_grad()
        model(torch.full((2, 3), number + 1.0)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("component", [Adam(), SGD()])
def test_goes_on_bit_for_bit(component):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = component.build(model.parameters())
    stepped(model, optimizer, 3)
    kept = {key: value.clone() for key, value in optimizer_tensors(model, optimizer).items()}
    other.load_state_dict(model.state_dict())
    again = component.build(other.parameters())
    restore_optimizer(other, again, {**kept, "model.weight": torch.zeros(1)})
    stepped(model, optimizer, 2)
    stepped(other, again, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("fused", "where"), [(True, "meta"), (False, "cpu")])
def test_step_count_is_where_the_optimiser_looks(fused, where):
    model, elsewhere = nn.Linear(3, 2), nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    stepped(model, optimizer, 1)
    restored = torch.optim.Adam(elsewhere.parameters(), fused=fused)
    restore_optimizer(elsewhere, restored, optimizer_tensors(model, optimizer))
    state = restored.state[elsewhere.weight]
    assert (state["step"].device.type, state["exp_avg"].device.type) == (where, "meta")
