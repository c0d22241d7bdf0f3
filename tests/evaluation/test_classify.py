"""What a classifier is built and trained with: how convolutions are computed, and how many clips batch norm needs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cprspec.components.evaluators import Classifier as Options
from cprspec.errors import CprspecError
from cprspec.evaluation import classify as module
from cprspec.learning.ranks import Ranks
from cprspec.models.heads import Encoder
from cprspec.models.separable import Conv3d
from cprspec.spec.schema import Clip, Launch

CLIP = Clip(frames=4, stride=1, size=16, short_side=16)


def small_encoder(*_):
    return Encoder(nn.Sequential(Conv3d(3, 4, (1, 3, 3)), nn.BatchNorm3d(4), nn.ReLU(), Conv3d(4, 4, (3, 1, 1))), 4, 2)


def study(options, *, videos=20, world=1, precision="float32", **launch):
    """One whose encoder is a small one; `videos` are all labelled."""
    resolved = SimpleNamespace(seed=5, launch=Launch(workers=0, **launch))
    ranks = Ranks(world=world, device=torch.device("cpu"))
    return SimpleNamespace(
        encoder="rgb", kept_as="data@rgb", options=options, view="rgb", views={"rgb": None}, clip=CLIP, kept=None,
        phase=SimpleNamespace(precision=precision), labelled=lambda split: np.arange(videos),
        index=SimpleNamespace(classes=("a", "b"), labels=np.arange(videos) % 2),
        trained=SimpleNamespace(resolved=resolved, ranks=ranks, report=None),
    )  # fmt: skip


@pytest.fixture
def ways(monkeypatch):
    """Whether convolutions are whole, by what is done with the classifier; neither training nor test takes place."""

    def whole_of(network):
        return {layer.whole for layer in network.modules() if isinstance(layer, Conv3d)}

    seen = {}
    monkeypatch.setattr(module, "encoder_of", small_encoder)
    monkeypatch.setattr(module, "Normalise", lambda view: nn.Identity())
    monkeypatch.setattr(module, "train_classifier", lambda task: seen.update(train=whole_of(task.model)))
    monkeypatch.setattr(module, "test", lambda study, answering: seen.update(test=whole_of(answering.network)))
    return seen


@pytest.mark.parametrize(("wanted", "whole"), [("whole", True), ("split", False), ("auto", False)])
def test_a_classifier_is_trained_and_tested_as_launch_says(ways, wanted, whole):
    module.classify(study(Options(), convolutions=wanted), heard=None)
    assert ways == {"train": {whole}, "test": {whole}}


@pytest.mark.parametrize(
    ("options", "precision", "clips", "autocast", "learning"),
    [
        (Options(), "float32", 8, None, True),
        (Options(batch_size=6, train="head"), "bf16", 3, torch.bfloat16, False),
        (Options(batch_size=2), "float32", 2, None, True),
    ],
)
def test_what_is_measured_is_what_is_trained(ways, monkeypatch, options, precision, clips, autocast, learning):
    asked = []
    monkeypatch.setattr(module, "choose_convolutions", lambda *given, **named: asked.append((given, named)))
    module.classify(study(options, world=2, precision=precision), heard=None)
    ((model, wanted, backbone, clip, count, ranks), named) = asked.pop()
    assert (wanted, clip, count, ranks.world) == ("auto", CLIP, clips, 2)
    assert backbone is model.backbone
    assert named == {"autocast": autocast, "learning": learning}
    assert not asked


def test_batch_norm_needs_two_clips_on_each_rank(ways):
    with pytest.raises(CprspecError, match="3 labelled videos are too few to train on"):
        module.classify(study(Options(batch_norm=True), videos=3, world=2), heard=None)
    module.classify(study(Options(), videos=3, world=2), heard=None)
    module.classify(study(Options(batch_norm=True), videos=5, world=2), heard=None)
