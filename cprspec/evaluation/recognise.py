"""The recognition evaluators as a whole: for each data set and encoder train a classifier, then judge what it says.

Videos without a label take no part. What one encoder's classifier says is kept in the evaluation's work folder at once.
Legend: V videos, C classes, F features.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import define
from torch import Tensor

from cprspec.components.evaluators import Classifier, Linear
from cprspec.evaluation import linear
from cprspec.evaluation.classify import Study, classify
from cprspec.evaluation.encoders import Trained, features_of, nothing_to_save, parts_of
from cprspec.evaluation.kept import Kept
from cprspec.evaluation.recognition import facts_of
from cprspec.runs.events import Evaluating
from cprspec.spec.encoders import default_encoders
from cprspec.spec.splits import official_split

NEWS_EVERY_S = 2.0
"""Seconds between two events about epochs; the last epoch is always told."""

Said = tuple[Tensor, Tensor]
"""Ids `[V]` of the labelled test videos, ascending, and their class probabilities `[V,C]`."""


def recognise(
    name: str, options: Linear | Classifier, trained: Trained, work: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Records, accuracy per class and confusion of every encoder, and its class probabilities `DATASET/ENCODER` `[V,C]`."""
    wanted = options.encoders or default_encoders(trained.resolved)
    singles = list(dict.fromkeys(part for encoder in wanted for part in parts_of(encoder, trained.resolved)))
    kept = Kept(work, trained.ranks, trained.report)
    facts: dict[str, Any] = {"records": [], "per_class": {}, "confusion": {}, "videos": {}}
    tensors: dict[str, Tensor] = {}
    for dataset in options.datasets or (trained.resolved.train_on,):
        said = _said_of_all(name, options, trained, dataset, singles, kept)
        video_V = said[singles[0]][0]
        joined: dict[str, Tensor] = {}
        for encoder in wanted:
            parts = parts_of(encoder, trained.resolved)
            joined[encoder] = torch.stack([said[part][1] for part in parts]).mean(0)
        index = trained.indices[dataset]
        family, split = official_split(dataset, trained.resolved.datasets)
        base = {
            "dataset": family, "split": split, "protocol": options.method, "unit": "video",
            "seed": trained.resolved.seed,
        }  # fmt: skip
        found = facts_of(joined, torch.from_numpy(index.labels)[video_V], index.classes, base)
        facts["records"] += found["records"]
        facts["per_class"][dataset] = found["per_class"]
        facts["confusion"][dataset] = found["confusion"]
        facts["videos"][dataset] = [index.videos[v].name for v in video_V.tolist()]
        tensors |= {f"{dataset}/{encoder}": probability_VC for encoder, probability_VC in joined.items()}
    return facts, tensors


def _said_of_all(
    name: str, options: Linear | Classifier, trained: Trained, dataset: str, singles: list[str], kept: Kept
) -> dict[str, Said]:
    """What each encoder's classifier says of the test videos; those kept by an earlier attempt are not trained again."""
    said: dict[str, Said] = {}
    for single in singles:
        if (found := kept.get(f"{dataset}@{single}")) is not None:
            said[single] = found[0]["video_V"], found[0]["probability_VC"]
    missing = [single for single in singles if single not in said]
    about = (trained, dataset, missing, kept)
    found_by = _linear(name, options, *about) if isinstance(options, Linear) else _classifiers(name, options, *about)
    for single, (video_V, probability_VC) in found_by:
        said[single] = video_V, probability_VC
        kept.put(f"{dataset}@{single}", {"video_V": video_V, "probability_VC": probability_VC})
        kept.drop(f"{dataset}@{single}@training")
    return said


def _linear(
    name: str, options: Linear, trained: Trained, dataset: str, singles: list[str], kept: Kept
) -> Iterator[tuple[str, Said]]:
    """The linear probe on the stored features of each encoder, one after the other."""
    if not singles:
        return
    index, device = trained.indices[dataset], trained.ranks.device
    label_V = torch.from_numpy(index.labels)
    video, feature = {}, {}
    for split in ("train", "test"):
        ids_V, features = features_of(singles, trained, dataset, split, precision=options.precision, kept=kept)
        known_V = label_V[ids_V] >= 0
        video[split] = ids_V[known_V]
        feature[split] = {single: rows[known_V].to(device) for single, rows in features.items()}
    for single in singles:
        trained.pause(nothing_to_save)
        head = linear.train_head(
            feature["train"][single], label_V[video["train"]].to(device), len(index.classes), options,
            trained.resolved.seed, News(name, single, dataset, options.epochs, trained),
        )  # fmt: skip
        yield single, (video["test"], linear.probabilities(head, feature["test"][single]))


def _classifiers(
    name: str, options: Classifier, trained: Trained, dataset: str, singles: list[str], kept: Kept
) -> Iterator[tuple[str, Said]]:
    """A classifier on each encoder, one after the other."""
    for single in singles:
        study = Study(encoder=single, dataset=dataset, options=options, trained=trained, kept=kept)
        yield single, classify(study, News(name, single, dataset, options.epochs, trained))


@define
class News:
    """Tells of the epochs of one encoder's classifier, not more often than a reader wants."""

    name: str
    encoder: str
    dataset: str
    of: int
    trained: Trained
    _told: float = -NEWS_EVERY_S

    def __call__(self, epoch: int, loss: float) -> None:
        """`epoch` ended with this mean loss."""
        now = time.monotonic()
        if epoch + 1 == self.of or now - self._told >= NEWS_EVERY_S:
            self._told = now
            self.trained.report(
                Evaluating(
                    name=self.name, encoder=self.encoder, dataset=self.dataset, epoch=epoch, of=self.of, loss=loss
                )
            )
