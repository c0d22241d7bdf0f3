"""Classifiers on the encoders of an experiment: what each is trained with and how it is tested; evaluation/finetune.py trains.

Videos without a label are neither trained on nor tested. Legend: V videos, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn.functional import cross_entropy

from cprspec.components.augments import Crop, Downstream
from cprspec.components.evaluators import Classifier as Options
from cprspec.components.views import Residual
from cprspec.data.index import Index
from cprspec.errors import CprspecError, Problem
from cprspec.evaluation.bad_clips import BadClips
from cprspec.evaluation.crops import Answering, over_crops
from cprspec.evaluation.encoders import Trained, encoder_of, nothing_to_save
from cprspec.evaluation.features import Keeping, encode_videos
from cprspec.evaluation.finetune import Task, train_classifier
from cprspec.evaluation.kept import Kept
from cprspec.learning.convolutions import choose_convolutions
from cprspec.models.frozen import freeze
from cprspec.models.heads import ClassHead, Classifier
from cprspec.models.parts import use_recompute
from cprspec.spec.encoders import phase_and_view
from cprspec.spec.kinds import Augment, View
from cprspec.spec.schema import Clip, Phase
from cprspec.video.clips import Ints, PhaseOrder, TestClips, TrainClips
from cprspec.video.crops import CROPS
from cprspec.video.normalise import Normalise
from cprspec.video.sampling import generator
from cprspec.video.supply import Supply

HELD_OUT, SEED = 212, 213
"""Streams of random numbers."""


@frozen(kw_only=True)
class Study:
    """One encoder on one data set: everything that its classifier is trained and tested with."""

    encoder: str
    dataset: str
    options: Options
    trained: Trained
    kept: Kept

    @property
    def kept_as(self) -> str:
        """What things are kept as."""
        return f"{self.dataset}@{self.encoder}"

    @property
    def phase(self) -> Phase:
        """The phase of the encoder; of an untrained one the first that learns its view."""
        return phase_and_view(self.encoder, self.trained.resolved)[0]

    @property
    def view(self) -> str:
        """The name of the view it sees."""
        return phase_and_view(self.encoder, self.trained.resolved)[1]

    @property
    def views(self) -> dict[str, View]:
        """That view by its name, as the evaluation wants it."""
        own = self.trained.resolved.views[self.view]
        return {self.view: evolve(own, rescale=self.options.rescale) if isinstance(own, Residual) else own}

    @property
    def index(self) -> Index:
        """The videos."""
        return self.trained.indices[self.dataset]

    @property
    def clip(self) -> Clip:
        """The clip of the encoder's phase, with what the evaluation says otherwise; cut from the same stored pictures."""
        own = self.phase.clip
        given = {
            key: value for key in ("frames", "stride", "size") if (value := getattr(self.options, key)) is not None
        }
        return evolve(own, **given, short_side=own.stored_side)

    @property
    def augment(self) -> Augment:
        """How training clips are varied; mirroring and flow as in the encoder's phase unless the evaluation says otherwise."""
        own, options = self.phase.augment, self.options
        flip = getattr(own, "flip", 0.0) if options.flip is None else options.flip
        if options.augment == "phase":
            return evolve(own, flip=flip)  # type: ignore[misc]
        return Downstream(
            flip=flip, strong=options.jitter, min_area=options.min_area, flow_aware=getattr(own, "flow_aware", False)
        )

    @property
    def seed(self) -> int:
        """Of training clips: others than those that the encoder was trained on."""
        return int(generator(self.trained.resolved.seed, SEED).integers(2**31))

    def labelled(self, split: str) -> Ints:
        """Ids of the videos with a label."""
        ids = self.index.ids(split)
        return ids[self.index.labels[ids] >= 0]


def classify(study: Study, heard: Callable[[int, float], None]) -> tuple[Tensor, Tensor]:
    """Train and test the classifier of a study: ids `[V]` of the test videos, ascending, and class probabilities `[V,C]`."""
    options, trained, name = study.options, study.trained, study.kept_as
    train_ids, held_out_ids = split_off(study.labelled("train"), options.validation, trained.resolved.seed)
    world = trained.ranks.world
    batch_size = min(options.batch_size, len(train_ids) // world * world)
    if batch_size < (2 * world if options.batch_norm else 2):  # batch norm needs two clips on each rank
        raise CprspecError(f"evaluation of {study.encoder}: {len(train_ids)} labelled videos are too few to train on")
    autocast = torch.bfloat16 if study.phase.precision == "bf16" else None
    to_input = Normalise(study.views[study.view])
    model = build_classifier(study, batch_size // world, autocast)
    answering = Answering(model, study.view, to_input, options.mean_of)
    train_classifier(
        Task(
            name=name,
            model=model,
            view=study.view,
            to_input=to_input,
            options=options,
            steps_per_epoch=len(train_ids) // batch_size,
            bad_clips=BadClips(
                index=study.index,
                ranks=trained.ranks,
                report=trained.report,
                clips=len(train_ids) // batch_size * batch_size,
                allowed=trained.resolved.launch.bad_clips,
            ),
            batches=lambda epoch, step: _supply(study, train_ids, batch_size, epoch, step),
            label_V=torch.from_numpy(study.index.labels),
            held_out=partial(held_out_loss, study, answering, held_out_ids) if len(held_out_ids) else None,
            autocast=autocast,
            trained=trained,
            kept=study.kept,
            heard=heard,
        )
    )
    freeze(model)
    return test(study, answering)


def build_classifier(study: Study, clips: int, autocast: torch.dtype | None) -> Classifier:
    """The classifier before training, on the rank's device, computed as `launch` has it for `clips` clips of a rank."""
    options, resolved, ranks = study.options, study.trained.resolved, study.trained.ranks
    network = encoder_of(study.encoder, study.trained)
    head = ClassHead(
        network.feature_size, len(study.index.classes), l2=options.l2, batch_norm=options.batch_norm,
        dropout=options.dropout, seed=resolved.seed,
    )  # fmt: skip
    model = Classifier(network, head, frozen=options.train == "head").to(ranks.device)
    choose_convolutions(
        model, resolved.launch.convolutions, model.backbone, study.clip, max(2, min(8, clips)), ranks,
        autocast=autocast, learning=not model.frozen,
    )  # fmt: skip
    use_recompute(model.backbone, resolved.launch.checkpoint_activations)
    return model


def split_off(ids: Ints, count: int, seed: int) -> tuple[Ints, Ints]:
    """Training videos and `count` that are held out, both ascending; drawn by seed."""
    if count >= len(ids):
        message = f"{count} videos cannot be held out of {len(ids)} labelled training videos"
        raise CprspecError(Problem(message, hint="lower the evaluation's validation"))
    order = generator(seed, HELD_OUT).permutation(ids)
    return np.sort(order[count:]), np.sort(order[:count])


def held_out_loss(study: Study, answering: Answering, ids: Ints, save: Callable[[], None]) -> float:
    """The mean loss over one clip of each held-out video, the same clip each time; leaves the model in evaluation mode.

    `save` is called before a request to stop ends it.
    """
    scores, clips = evolve(answering, mean_of="scores"), TestClips(**_clips_of(study, ids), one_window=True)
    video_V, said = _said(study, scores, clips, partial(study.trained.pause, save))
    return cross_entropy(said, torch.from_numpy(study.index.labels)[video_V]).item()


def test(study: Study, answering: Answering) -> tuple[Tensor, Tensor]:
    """Ids and class probabilities of the test videos; what is said of each crop is kept part by part."""
    options, ids, trained = study.options, study.labelled("test"), study.trained
    facts = {"data": study.index.digest()}
    said: list[Tensor] = []
    for number, place in enumerate(CROPS[options.crops]):
        clips = TestClips(
            **_clips_of(study, ids),
            jitter=options.protocol == "coclr",
            iic=options.windows == "ten",
            crop=study.phase.augment if isinstance(study.phase.augment, Crop) else None,
            place=place,
            flow_aware=getattr(study.phase.augment, "flow_aware", False),
        )
        together = partial(trained.pause_together, nothing_to_save)
        keeping = Keeping(study.kept, f"{study.kept_as}@crop-{number}", facts, together)
        said.append(_said(study, answering, clips, partial(trained.pause, nothing_to_save), keeping)[1])
    return torch.from_numpy(ids), over_crops(said, options)


def _said(
    study: Study, answering: Answering, clips: TestClips, pause: Callable[[], None], keeping: Keeping | None = None
) -> tuple[Tensor, Tensor]:
    launch, ranks = study.trained.resolved.launch, study.trained.ranks
    video_V, rows = encode_videos({study.encoder: answering}, clips, launch, ranks, pause, keeping)
    return video_V, rows[study.encoder]


def _clips_of(study: Study, ids: Ints) -> dict[str, Any]:
    """What every test clip of a study has in common, for TestClips."""
    return {
        "index": study.index, "ids": ids, "views": study.views, "clip": study.clip, "store": study.trained.store,
        "seed": study.seed,
    }  # fmt: skip


def _supply(study: Study, ids: Ints, batch_size: int, epoch: int, step: int) -> Supply:
    """The training clips from a place on, one supply of all of them."""
    trained = study.trained
    order = PhaseOrder(
        n=len(ids),
        batch_size=batch_size,
        accumulate=1,
        rank=trained.ranks.rank,
        world_size=trained.ranks.world,
        seed=study.seed,
        first_epoch=epoch,
        first_step=step,
        epochs=study.options.epochs,
    )
    clips = TrainClips(study.index, ids, study.views, study.clip, study.augment, trained.store, study.seed, clips=1)
    return Supply(clips, order, trained.resolved.launch, pin=trained.ranks.device.type == "cuda")
