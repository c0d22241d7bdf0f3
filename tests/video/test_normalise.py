"""The network's input, against the definition written out."""

import numpy as np
import pytest
import torch

from cprspec.components.views import Flow, FlowComponent, Residual, Rgb
from cprspec.video.normalise import Normalise


@pytest.mark.parametrize("view", [Rgb(), Flow(), Residual()])
def test_input_is_scaled_and_normalised_per_channel(view):
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8)
    slow = np.empty((2, 3, 3, 4, 5))
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        for t in range(3):
            value = clip[:, t, :, :, channel] / 255
            if view.name == "residual":
                value = (value - clip[:, t - 1, :, :, channel] / 255 + 1) / 2  # frame 0 minus the last
            slow[:, channel, t] = (value - mean) / std
    module = Normalise(view)
    out = module(torch.from_numpy(clip))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.from_numpy(slow).float(), rtol=1e-5, atol=1e-5)
    assert not module.state_dict()  # nothing of it belongs into a checkpoint


def test_whole_rows_give_the_bits_and_the_memory_of_channels():
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 3, 4, 5, 3)).astype(np.uint8))
    module = Normalise(Rgb())
    for clip in (clips[:, 1], clips[:, 0][[2, 0, 1]], clips[:1, 0]):
        by_channel = (clip.permute(0, 4, 1, 2, 3).float() / 255 - module.mean) / module.std
        assert torch.equal(module(clip), by_channel)
        assert module(clip).stride() == by_channel.stride()


def test_without_normalisation_and_rescaling():
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8))
    plain = clip.permute(0, 4, 1, 2, 3) / 255
    assert torch.equal(Normalise(Rgb(normalise="none"))(clip), plain)
    difference = torch.stack([plain[:, :, t] - plain[:, :, t - 1] for t in range(3)], dim=2)
    assert torch.equal(Normalise(Residual(normalise="none", rescale=False))(clip), difference)
    assert torch.equal(Normalise(Residual(normalise="none"))(clip), (difference + 1) / 2)


def test_a_component_of_flow_is_a_grey_picture():
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8))
    for axis, channel in (("x", 2), ("y", 1)):  # clips are (128, y, x)
        out = Normalise(FlowComponent(axis=axis, normalise="none"))(clip)
        for c in range(3):
            assert torch.equal(out[:, c], clip[..., channel] / 255)
