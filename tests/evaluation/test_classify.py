"""What a classifier is built and trained with: how convolutions are computed, and how many clips batch norm needs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cprspec.components.evaluators import Classifier as Options
from cprspec.errors import CprspecError
from cprspec.evaluation import classify as module
from cprspec.evaluation import features
from cprspec.evaluation.crops import Answering
from cprspec.evaluation.kept import Kept
from cprspec.learning.ranks import Ranks
from cprspec.models.heads import ClassHead, Classifier, Encoder
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


class CropsOfVideos:
    """Ten videos of a window each, other numbers for each place of the crop; it counts what is read."""

    read_so_far = 0

    def __init__(self, *, place, ids, **_):
        self.place, self.ids = place, ids

    def __len__(self):
        return len(self.ids)

    def item_bytes(self):
        return 4 * 16 * 16 * 3

    def read(self, position, tray):
        CropsOfVideos.read_so_far += 1
        tray.video = int(self.ids[position])
        rng = np.random.default_rng((position, *repr(self.place).encode()))
        tray.room("rgb", (1, 4, 16, 16, 3))[:] = rng.integers(0, 256, (1, 4, 16, 16, 3))


class BytesToFloats(nn.Module):
    def forward(self, clip_NTHWC):
        return clip_NTHWC.permute(0, 4, 1, 2, 3).float()


class StopHereError(Exception):
    """Stands for a stop request."""


def test_a_test_that_is_stopped_goes_on_within_a_crop(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "VIDEOS_IN_PART", 4)
    monkeypatch.setattr(module, "TestClips", CropsOfVideos)
    torch.manual_seed(0)
    network = Classifier(small_encoder(), ClassHead(4, 2))
    answering = Answering(network, "rgb", BytesToFloats(), "probabilities")

    def tested(folder, stop_after=None):
        made = study(Options(crops="five"), videos=10)
        calls, before = iter(range(10**6)), CropsOfVideos.read_so_far

        def together(save):
            save()
            if next(calls) + 1 == stop_after:
                raise StopHereError

        made.kept_as, made.kept, made.seed = "data@random/rgb", Kept(folder, made.trained.ranks, print), 0
        made.index.digest = lambda: "digest"
        made.phase.augment = None
        made.trained.store, made.trained.pause, made.trained.pause_together = None, (lambda save: None), together
        try:
            return module.test(made, answering), CropsOfVideos.read_so_far - before
        except StopHereError:
            return None, CropsOfVideos.read_so_far - before

    (ids, whole), read = tested(tmp_path / "whole")
    assert ids.tolist() == [*range(10)]
    assert read == 5 * 10
    _, first = tested(tmp_path / "parts", stop_after=5)
    (_, found), second = tested(tmp_path / "parts")
    assert (first, second) == (10 + 8, 2 + 3 * 10)
    assert torch.equal(found, whole)
