"""All backbones: cards, sizes and limits; the 3D ResNets against torchvision's graph and against their definition."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv3d, max_pool3d

from cprspec.components.backbones import C3D, R2D3D50, S3D, ResNet3D, Tiny, Torchvision
from cprspec.errors import CprspecError
from cprspec.models.heads import conv5_features
from cprspec.spec.registry import builtin_registry

MAPS = {
    "s3d": (1024, 2, 2, 3),
    "s3dg": (1024, 2, 2, 3),
    "tiny": (128, 2, 4, 6),
    "r3d": (512, 2, 4, 6),
    "r3d18": (512, 2, 4, 6),
    "r21d": (512, 2, 4, 6),
    "c3d": (512, 2, 4, 6),
    "r2d3d50": (2048, 8, 2, 3),
    "r3d_18": (512, 2, 4, 6),
    "mc3_18": (512, 16, 4, 6),
    "r2plus1d_18": (512, 2, 4, 6),
}
"""The map of each card for a clip of 16 frames, 64 x 96 pixels."""

SMALL = [S3D(width=0.25), Tiny(width=0.25), ResNet3D(width=0.25), ResNet3D(width=0.25, factored=True), C3D(width=0.25)]
SMALL += [R2D3D50(width=0.25)]


def component_of(card):
    found = builtin_registry().find("backbone", card)
    return found.component(**found.options)


def test_every_card_is_here():
    assert set(builtin_registry().names("backbone")) == set(MAPS)


@pytest.mark.parametrize("card", MAPS)
def test_feature_size_and_map(card):
    component = component_of(card)
    with torch.device("meta"):
        network = component.build()
        output = network(torch.empty(2, 3, 16, 64, 96))
    assert output.shape == (2, *MAPS[card])
    assert network.feature_size == component.feature_size == MAPS[card][0]
    assert not any("fc" in name.split(".") for name, _ in network.named_parameters() if "gating" not in name)


def test_s3dg_is_s3d_with_gates():
    with torch.device("meta"):
        plain, gated = (set(component_of(card).build().state_dict()) for card in ("s3d", "s3dg"))
    assert plain < gated
    assert len(gated - plain) == 9 * 4 * 2  # weight and bias of a gate for each branch of each block
    assert all(".gating_b" in key for key in gated - plain)


@pytest.mark.parametrize("component", SMALL, ids=str)
def test_widths(component):
    with torch.device("meta"):
        network = component.build()
        output = network(torch.empty(2, 3, 16, 64, 64))
    assert output.shape[1] == component.feature_size == network.feature_size
    assert component.feature_size == type(component)().feature_size // 4


@pytest.mark.parametrize("component", [*SMALL, Torchvision(network="mc3_18")], ids=str)
def test_smallest_clip_is_the_limit(component):
    frames, pixels = component.smallest
    network = component.build().train()
    with torch.no_grad():
        output = network(torch.randn(2, 3, frames, pixels, pixels))
        assert output.shape[0] == 2
        assert output.isfinite().all()
        for smaller in ((frames - 1, pixels, pixels), (frames, pixels - 1, pixels), (frames, pixels, pixels - 1)):
            with pytest.raises((RuntimeError, ValueError)):
                network(torch.randn(2, 3, *smaller))


def test_feature_sizes_are_known_without_torch():
    sizes = "; ".join(f"assert b.{c!r}.feature_size" for c in (*SMALL, Torchvision(network="r3d_18")))
    program = f"import sys, cprspec.components.backbones as b; {sizes}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def randomised(network, seed=0):
    """Batch norms with values that hide nothing, in eval mode."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.2, 0.2)):
                nn.init.uniform_(tensor, low, high)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def torchvision_name(name):
    """Where torchvision's r3d_18 keeps the tensor that IIC calls `name`."""
    name = name.replace("temporal_spatial_conv.", "")
    first, _, rest = name.partition(".")
    if first in ("conv1", "bn1"):
        return f"stem.{0 if first == 'conv1' else 1}.{rest}"
    block, _, rest = rest.removeprefix("blocks.").partition(".")
    number = 0 if block == "block1" else int(block) + 1
    layer, _, leaf = rest.partition(".")
    places = {"downsampleconv": "downsample.0", "downsamplebn": "downsample.1", "conv1": "conv1.0", "bn1": "conv1.1"}
    place = places | {"conv2": "conv2.0", "bn2": "conv2.1"}
    return f"layer{int(first[-1]) - 1}.{number}.{place[layer]}.{leaf}"


def test_r3d18_is_torchvisions_graph():
    ours = randomised(component_of("r3d18").build())
    theirs = component_of("r3d_18").build().eval()
    theirs.load_state_dict({torchvision_name(name): value for name, value in ours.state_dict().items()})
    clip = torch.randn(1, 3, 5, 40, 48)
    with torch.no_grad():
        found, expected = ours(clip), theirs(clip)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max().item())
    assert (
        sum(p.numel() for p in ours.parameters()) == 33_166_272
    )  # 33,371,472 published, less 400 x 513 of the classifier


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_torchvision_networks_are_torchvisions(name):
    from torchvision.models import video

    torch.manual_seed(0)
    ours = randomised(component_of(name).build())
    with torch.device("meta"):
        whole = getattr(video, name)()
    whole.fc = nn.Identity()
    whole.load_state_dict(ours.state_dict(), assign=True)
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip).mean((2, 3, 4)), whole.eval()(clip))


def norm(state, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return batch_norm(x, *(state[f"{name}.{key}"] for key in keys))


def test_r21d_weighs_as_much_as_r3d():
    # Tran et al.: the channels between are chosen so; the difference is the rounding and the batch norms between.
    counts = {}
    for card in ("r3d", "r21d"):
        with torch.device("meta"):
            counts[card] = sum(p.numel() for n, p in component_of(card).build().named_parameters() if "_conv." in n)
    assert counts["r21d"] == pytest.approx(counts["r3d"], rel=2e-3)
    assert counts["r21d"] < counts["r3d"]


def test_r2d3d50_from_its_definition():
    network = randomised(R2D3D50(width=0.125).build().double())
    state = network.state_dict()
    clip = torch.randn(2, 3, 7, 40, 48, dtype=torch.float64)
    x = conv3d(clip, state["conv1.weight"], stride=2, padding=(2, 3, 3))
    x = max_pool3d(norm(state, "bn1", x).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for layer, (blocks, sees_time) in enumerate(((3, 0), (4, 0), (6, 1), (3, 1)), start=1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            stride = (1, 2, 2) if layer > 1 and block == 0 else 1
            y = conv3d(x, state[f"{at}.conv1.weight"], padding=(sees_time, 0, 0))
            y = conv3d(
                norm(state, f"{at}.bn1", y).relu(), state[f"{at}.conv2.weight"], stride=stride, padding=(0, 1, 1)
            )
            y = norm(state, f"{at}.bn3", conv3d(norm(state, f"{at}.bn2", y).relu(), state[f"{at}.conv3.weight"]))
            if block == 0:
                x = norm(state, f"{at}.downsample.1", conv3d(x, state[f"{at}.downsample.0.weight"], stride=stride))
            x = (x + y).relu()
    with torch.no_grad():
        torch.testing.assert_close(network(clip), x)
    assert x.shape == (2, 256, 4, 2, 2)


def test_r2d3d50_starts_as_published():
    torch.manual_seed(0)
    network = R2D3D50(width=0.5).build()
    weight = network.layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (weight.shape[0] * 9)) ** 0.5, rel=0.01)


def test_conv5_features_from_their_definition():
    map_NFTHW = torch.randn(2, 5, 3, 5, 4)
    expected = [
        [
            max(map_NFTHW[n, f, t, h + i, w + j].item() for i in (0, 1) for j in (0, 1))
            for f in range(5) for t in range(3) for h in (0, 2) for w in (0, 2)
        ]
        for n in range(2)
    ]  # fmt: skip
    assert conv5_features(map_NFTHW).tolist() == expected
    assert conv5_features(torch.zeros(1, 512, 2, 7, 7)).shape == (1, 9216)  # the published size, at 112 pixels


def test_conv5_features_of_a_small_map():
    with pytest.raises(CprspecError, match="conv5 features need a map of 2x2 or more, found 1x3"):
        conv5_features(torch.zeros(1, 4, 2, 1, 3))
