"""Activation checkpointing: the same bits, batch norm's statistics moved once, and less kept."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from cprspec.components import backbones
from cprspec.errors import CprspecError
from cprspec.learning.groups import in_groups
from cprspec.models.parts import InParts, use_recompute

NETWORKS = {
    "s3d": backbones.S3D(width=0.125),
    "s3dg": backbones.S3D(width=0.125, gating=True),
    "r3d18": backbones.ResNet3D(blocks=2, width=0.125),
    "r21d": backbones.ResNet3D(factored=True, width=0.125),
    "c3d": backbones.C3D(width=0.125),
    "r2d3d50": backbones.R2D3D50(width=0.125),
    "tiny": backbones.Tiny(),
}


def step(network, clips, groups=1, autocast=False):
    """Loss, gradients and buffers after a forward and a backward pass; a twin with `recompute` gives the second."""
    found = []
    for recompute in (False, True):
        twin = deepcopy(network).train()
        use_recompute(twin, recompute)
        torch.manual_seed(7)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = in_groups(twin, clips, groups)
        loss = output.float().square().mean()
        loss.backward()
        drawn = torch.get_rng_state()
        found.append([loss, drawn, *(p.grad for p in twin.parameters()), *twin.buffers()])
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_bits_stay(name):
    torch.manual_seed(0)
    network = NETWORKS[name].build()
    plain, again = step(network, torch.randn(2, 3, 8, 32, 32))
    assert len(plain) > 10
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.mark.parametrize("autocast", [False, True])
def test_bits_stay_in_groups_and_in_bf16(autocast):
    torch.manual_seed(0)
    plain, again = step(NETWORKS["s3d"].build(), torch.randn(4, 3, 8, 32, 32), groups=2, autocast=autocast)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_two_forward_passes_before_one_backward():
    """As IIC makes them: the first one's statistics are the second one's beginning, and recomputing disturbs neither."""
    torch.manual_seed(0)
    network, clips = NETWORKS["tiny"].build(), torch.randn(2, 2, 3, 8, 32, 32)
    found = []
    for recompute in (False, True):
        twin = deepcopy(network).train()
        use_recompute(twin, recompute)
        (twin(clips[0]).mean() + twin(clips[1]).square().mean()).backward()
        found.append([*(p.grad for p in twin.parameters()), *twin.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_compiled_it_is_one_graph_that_moves_statistics_once():
    torch.manual_seed(0)
    network, clips = NETWORKS["tiny"].build().train(), torch.randn(4, 3, 8, 32, 32)
    found = []
    for compiled in (False, True):
        twin = deepcopy(network)
        use_recompute(twin, True)
        if compiled:
            twin.compile(backend="aot_eager", fullgraph=True)  # an error where a part is left out
        in_groups(twin, clips, 2).square().mean().backward()
        found.append([*(p.grad for p in twin.parameters()), *twin.buffers()])
    torch.testing.assert_close(*found)


def test_statistics_are_moved_once_and_stay_the_module_s_own():
    network = NETWORKS["tiny"].build().train()
    use_recompute(network, True)
    own = [buffer.data_ptr() for buffer in network.buffers()]
    network(torch.randn(2, 3, 8, 32, 32)).mean().backward()
    assert {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm3d)} == {1}
    assert [buffer.data_ptr() for buffer in network.buffers()] == own


class Dropping(InParts):
    """Two parts of which each draws."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Conv3d(3, 3, 1), nn.Dropout(0.5)) for _ in range(2))

    def forward(self, x):
        return self.part(self.part(x, self.first), self.second)


def test_the_same_is_drawn_again():
    plain, again = step(Dropping(), torch.randn(2, 3, 2, 4, 4))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_less_is_kept(name):
    network = NETWORKS[name].build().train()
    kept = []
    for recompute in (False, True):
        use_recompute(network, recompute)
        storages: dict[int, int] = {}

        def note(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(torch.randn(2, 3, 8, 32, 32))
        kept.append(sum(storages.values()))
    assert kept[1] < 0.5 * kept[0], "what enters the parts"


def test_nothing_changes_without_gradients():
    network = NETWORKS["tiny"].build().train()
    use_recompute(network, True)
    with torch.no_grad():
        assert network(torch.randn(2, 3, 8, 32, 32)).grad_fn is None


def test_a_backbone_without_parts():
    use_recompute(nn.Conv3d(3, 3, 1), False)
    with pytest.raises(CprspecError, match=r"Conv3d has no parts.*launch.checkpoint_activations"):
        use_recompute(nn.Conv3d(3, 3, 1), True)
