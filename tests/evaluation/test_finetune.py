"""Training a classifier: what learns and how fast, the plateau, and that going on equals never having stopped."""

import math
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import evolve
from gloo import on_ranks
from torch import nn

from cprspec.components.evaluators import Classifier as Options
from cprspec.errors import CprspecError
from cprspec.evaluation import kept
from cprspec.evaluation.bad_clips import BadClips
from cprspec.evaluation.finetune import (
    Place,
    Task,
    build_optimizer,
    judge_epoch,
    restore,
    set_learning_rate,
    train_classifier,
)
from cprspec.evaluation.kept import Kept
from cprspec.learning.ranks import Ranks
from cprspec.models.heads import ClassHead, Classifier, Encoder
from cprspec.runs.events import Warned
from cprspec.runs.files import atomic_write_bytes
from cprspec.spec.schema import Launch
from cprspec.video.supply import Supply
from cprspec.video.tray import Unread

CPU = torch.device("cpu")
STEPS, VIDEOS = 3, 12
INDEX = SimpleNamespace(videos=[SimpleNamespace(name=f"{v}.mp4", path=f"/videos/{v}.mp4") for v in range(VIDEOS)])


class StopHereError(Exception):
    """Stands for a stop request."""


def small_model(options, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        encoder = Encoder(backbone, 4, 2)
    head = ClassHead(4, 3, l2=options.l2, batch_norm=options.batch_norm, dropout=options.dropout, seed=seed)
    return Classifier(encoder, head, frozen=options.train == "head")


class MadeClips:
    """An item is a function of its epoch, step and row; every row of a step is another video, `bad` one for the last."""

    def __init__(self, bad):
        self.bad = bad

    def item_bytes(self):
        return 2 * 5 * 5 * 3

    def read(self, key, tray):
        epoch, step, row = key
        rng = np.random.default_rng((epoch, step))
        tray.video = int(rng.permutation(VIDEOS)[row])
        tray.room("rgb", (1, 2, 5, 5, 3))[:] = rng.integers(0, 256, (4, 1, 2, 5, 5, 3))[row]
        tray.spent.replaced += tray.video == self.bad
        tray.spent.unread += [Unread(VIDEOS - 1, "torn")] if tray.video == self.bad else []


def batches(ranks, bad, epoch, step, epochs=4):
    """Ranks take their parts of each step's four clips."""
    steps = [(e, s) for e in range(epoch, epochs) for s in range(step if e == epoch else 0, STEPS)]
    rows = range(ranks.rank * 4 // ranks.world, (ranks.rank + 1) * 4 // ranks.world)
    return Supply(MadeClips(bad), [[(*place, row) for row in rows] for place in steps], Launch(workers=0))


def task(folder, options, *, stop_after=None, losses=None, ranks=None, bad=None, allowed=0.0, allow_others=False):
    """A task in `folder`; asked to stop `stop_after` so many steps, or at a validation loss of None."""
    ranks = ranks or Ranks(device=CPU)
    model, told, calls = small_model(options), [], iter(range(10**6))

    def pause_together(save):
        if next(calls) + 1 == stop_after:
            save()
            raise StopHereError

    validation = iter(losses) if losses else None

    def held_out(save):
        model.eval()
        if (loss := next(validation)) is None:
            save()
            raise StopHereError
        return loss

    resolved = SimpleNamespace(seed=5, launch=SimpleNamespace(checkpoint_minutes=1e9))
    made = Task(
        name="data@rgb", model=model, view="rgb", to_input=ToInput(), options=options, steps_per_epoch=STEPS,
        batches=partial(batches, ranks, bad, epochs=options.epochs), label_V=torch.arange(VIDEOS) % 3,
        bad_clips=BadClips(index=INDEX, ranks=ranks, report=told.append, clips=4 * STEPS, allowed=allowed),
        held_out=held_out if validation else None, autocast=None,
        trained=SimpleNamespace(
            ranks=ranks, resolved=resolved, pause_together=pause_together, report=told.append, world_size_change=allow_others
        ),
        kept=Kept(folder, ranks, told.append), heard=lambda *news: told.append(news),
    )  # fmt: skip
    return made, told


class ToInput(nn.Module):
    def forward(self, clip_NTHWC):
        return clip_NTHWC.permute(0, 4, 1, 2, 3).float() / 255


FINETUNE = Options(epochs=4, milestones=(2,), dropout=0.5)
PROBE = Options(epochs=4, milestones=(2,), dropout=0.0, train="head", l2=True, batch_norm=True, optimizer="sgd")


@pytest.mark.parametrize("options", [FINETUNE, PROBE], ids=["finetune", "probe"])
@pytest.mark.parametrize("stop_after", [1, 5, 6, 11])
def test_going_on_equals_never_having_stopped(tmp_path, options, stop_after):
    whole, told_whole = task(tmp_path / "whole", options)
    train_classifier(whole)
    first, told_first = task(tmp_path / "parts", options, stop_after=stop_after)
    with pytest.raises(StopHereError):
        train_classifier(first)
    torch.rand(3)  # whatever others draw in between
    second, told_second = task(tmp_path / "parts", options)
    train_classifier(second)
    state, expected = second.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert told_first + told_second == told_whole
    assert [epoch for epoch, _ in told_whole] == [0, 1, 2, 3]


def test_what_is_kept_of_a_finished_training_is_not_trained_again(tmp_path):
    whole, _ = task(tmp_path, FINETUNE)
    train_classifier(whole)
    again, told = task(tmp_path, FINETUNE)
    train_classifier(again)
    assert told == []
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_a_damaged_file_is_told_of_and_done_again(tmp_path):
    whole, _ = task(tmp_path, FINETUNE)
    train_classifier(whole)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    again, told = task(tmp_path, FINETUNE)
    train_classifier(again)
    assert "damaged" in told[0].message
    assert len(told) == 5
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_the_probe_leaves_the_backbone_alone(tmp_path):
    probe, _ = task(tmp_path, PROBE)
    before = {key: value.clone() for key, value in probe.model.state_dict().items()}
    train_classifier(probe)
    after = probe.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before if key.startswith("backbone."))
    assert not torch.equal(after["head.linear.weight"], before["head.linear.weight"])


def test_the_backbone_learns_at_its_own_rate_and_falls_at_milestones():
    options = Options(lr=0.1, backbone_lr=0.1, milestones=(2, 3), gamma=0.1, least_lr=0.002)
    optimizer = build_optimizer(small_model(options), options)
    for epoch, lr in enumerate([0.1, 0.1, 0.01, 0.002]):
        set_learning_rate(optimizer, options, Place(epoch=epoch))
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([lr, lr / 10])


@pytest.mark.parametrize(
    "losses",
    [
        [3.0, 2.0, 2.5, 2.5, 2.5, 1.9, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0],
        [2 - 6e-5 * epoch for epoch in range(30)],  # each hardly lower, some of them together more
        [2 * (1 - 9e-6) ** epoch for epoch in range(30)],
        [2.0, math.nan, math.inf, 2.0, 1.9999, 1.9998, 1.9997, 0.0, 0.0, 0.0, 0.0],
    ],
)
def test_a_plateau_lowers_the_rate_as_torch_does(losses):
    options = Options(patience=2, gamma=0.5, validation=1, lr=1.0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    place, lowest = Place(), math.inf
    for loss in losses:
        assert judge_epoch(place, loss, options) == (loss < lowest), "any lower loss has the best weights"
        lowest = min(lowest, loss)
        theirs.step(loss)
        assert place.factor == pytest.approx(optimizer.param_groups[0]["lr"])
    assert place.factor < 1


def test_the_epoch_with_the_lowest_validation_loss_is_tested(tmp_path):
    options = Options(epochs=4, milestones=(), validation=1, patience=50, dropout=0.5)
    whole, _ = task(tmp_path / "a", options, losses=[2.0, 1.0, 3.0, 4.0])
    train_classifier(whole)
    two, _ = task(tmp_path / "b", Options(epochs=2, milestones=(), dropout=0.5))
    train_classifier(two)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), two.model.parameters(), strict=True))
    first, _ = task(tmp_path / "c", options, losses=[2.0, 1.0], stop_after=8)
    with pytest.raises(StopHereError):
        train_classifier(first)
    second, _ = task(tmp_path / "c", options, losses=[3.0, 4.0])
    train_classifier(second)
    assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), two.model.parameters(), strict=True))


def test_stopped_while_it_looks_at_the_held_out_videos_nothing_is_trained_again(tmp_path):
    options = Options(epochs=4, milestones=(), validation=1, patience=50, dropout=0.5)
    whole, told_whole = task(tmp_path / "whole", options, losses=[2.0, 1.0, 3.0, 4.0])
    train_classifier(whole)
    first, told_first = task(tmp_path / "parts", options, losses=[2.0, None])
    with pytest.raises(StopHereError):
        train_classifier(first)
    second, told_second = task(tmp_path / "parts", options, losses=[1.0, 3.0, 4.0])
    asked_from = []
    train_classifier(evolve(second, batches=lambda *place: asked_from.append(place) or second.batches(*place)))
    assert asked_from == [(1, STEPS)]
    assert told_first + told_second == told_whole
    assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), whole.model.parameters(), strict=True))


def test_what_an_earlier_version_kept_has_its_lowest_loss_as_plateau(tmp_path):
    options = Options(epochs=4, milestones=(), validation=1, patience=50, dropout=0.5)
    first, _ = task(tmp_path, options, losses=[2.0, 1.0], stop_after=8)
    with pytest.raises(StopHereError):
        train_classifier(first)
    tensors, facts = first.kept.get("data@rgb@training")
    assert facts.pop("plateau") == facts["lowest"] == 1.0
    second, _ = task(tmp_path, options)
    for lowest, expected in ((1.0, 1.0), (None, math.inf)):
        second.kept.put("data@rgb@training", tensors, {**facts, "lowest": lowest})
        place = restore(second, build_optimizer(second.model, options), {})
        assert (place.plateau, place.lowest, place.epoch) == (expected, expected, 2)


def test_a_loss_that_is_not_finite_ends_it(tmp_path):
    broken, _ = task(tmp_path, FINETUNE)
    nn.init.constant_(broken.model.head.linear.weight, float("inf"))
    with pytest.raises(CprspecError, match="epoch 0, step 0: the loss is"):
        train_classifier(broken)


def trained_on_ranks(rank, folder):
    from pathlib import Path

    options = Options(epochs=2, milestones=(), dropout=0.0, train="head", optimizer="sgd", lr=0.1)
    ranks = Ranks(rank=rank, world=2, device=CPU)
    made, _ = task(Path(folder), options, ranks=ranks)
    train_classifier(made)
    return dict(made.model.state_dict())


def test_two_ranks_learn_what_one_learns(tmp_path):
    first, second = on_ranks(2, trained_on_ranks, str(tmp_path / "two"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    options = Options(epochs=2, milestones=(), dropout=0.0, train="head", optimizer="sgd", lr=0.1)
    alone, _ = task(tmp_path / "one", options)
    train_classifier(alone)
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(first[key], value, atol=1e-6, rtol=1e-5)


def keep_on_a_slow_disk(rank, folder):
    ranks = Ranks(rank=rank, world=2, device=CPU)
    kept.atomic_write_bytes = lambda path, content: time.sleep(8) or atomic_write_bytes(path, content)
    own = Kept(Path(folder), ranks, print)
    own.put("name", {"a": torch.arange(3)})
    return own.get("name")[0]


@pytest.mark.slow
def test_ranks_wait_for_a_slow_disk_longer_than_for_each_other(tmp_path):
    for found in on_ranks(2, keep_on_a_slow_disk, str(tmp_path), timeout_s=4):
        assert found["a"].tolist() == [0, 1, 2]


def test_other_ranks_go_on_only_where_it_is_allowed(tmp_path):
    first, _ = task(tmp_path, FINETUNE, stop_after=4)
    with pytest.raises(StopHereError):
        train_classifier(first)
    name = "data@rgb@training"
    tensors, facts = first.kept.get(name)
    first.kept.put(name, tensors, {**facts, "world": 2})
    second, _ = task(tmp_path, FINETUNE)
    with pytest.raises(CprspecError, match="begun by 2 processes"):
        train_classifier(second)
    third, told = task(tmp_path, FINETUNE, allow_others=True)
    train_classifier(third)
    assert told[0].message == "the classifier of data, rgb does not go on exactly: processes 2 then, 1 now"
    assert [epoch for epoch, _ in told[1:]] == [1, 2, 3]


def test_clips_that_cannot_be_read_are_named_once_and_too_many_end_the_training(tmp_path):
    made, told = task(tmp_path / "a", FINETUNE, bad=7, allowed=1.0)
    train_classifier(made)
    warnings = [event.message for event in told if isinstance(event, Warned)]
    assert warnings == ["/videos/11.mp4: not a readable video: torn; others take its place"]
    with pytest.raises(CprspecError, match=r"epoch \d, step \d: 1 of the epoch's 12 clips .* and 0 may be; .*11.mp4"):
        train_classifier(task(tmp_path / "b", FINETUNE, bad=7, allowed=0.08)[0])
