"""Running the evaluators of an experiment: features once per data set and split, then the numbers as flat records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attrs import frozen

from cprspec.components.evaluators import Retrieval
from cprspec.data.index import Index
from cprspec.errors import CprspecError, Problem
from cprspec.evaluation.features import FrozenEncoder, encode_videos
from cprspec.evaluation.retrieval import class_recall_at_1, mean_average_precision, recall_at, similarity
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.spec.schema import RANDOM, Phase, Resolved
from cprspec.video.clips import TestClips
from cprspec.video.normalise import Normalise
from cprspec.video.store import Store

Record = dict[str, Any]


@frozen(kw_only=True)
class Trained:
    """What evaluation needs of a run: the experiment, its data, and each phase's encoder weights."""

    resolved: Resolved
    indices: Mapping[str, Index]
    store: Store
    weights: Mapping[str, Weights]
    ranks: Ranks


def retrieve(name: str, options: Retrieval, trained: Trained) -> dict[str, Any]:
    """The evaluation `name`: flat records, and R@1 per class for each encoder. The same on every rank."""
    resolved = trained.resolved
    wanted = options.encoders or default_encoders(resolved)
    singles = list(dict.fromkeys(part for encoder in wanted for part in _parts(encoder, resolved)))
    records: list[Record] = []
    per_class: dict[str, Any] = {}
    for dataset in options.datasets or (resolved.train_on,):
        index = trained.indices[dataset]
        _check(name, dataset, index)
        features = {split: _features(singles, options, dataset, split, trained) for split in ("train", "test")}
        labels = torch.from_numpy(index.labels)
        train, test = labels[features["train"][0]], labels[features["test"][0]]
        for encoder in wanted:
            parts = _parts(encoder, resolved)
            score = sum(similarity(features["test"][1][p], features["train"][1][p]) for p in parts)
            assert isinstance(score, torch.Tensor)
            base = {
                "n": len(test), "dataset": dataset, "split": "test", "encoder": encoder,
                "protocol": f"retrieval-{options.protocol}", "unit": "video", "seed": resolved.seed,
            }  # fmt: skip
            found = recall_at(score, test, train, options.k)
            measures = {f"R@{k}": found[k] for k in options.k}
            measures["mAP"] = mean_average_precision(score, test, train)
            records += [{"metric": metric, "value": value, **base} for metric, value in measures.items()]
            recall_C, _ = class_recall_at_1(score, test, train, len(index.classes))
            per_class.setdefault(dataset, {})[encoder] = dict(zip(index.classes, recall_C.tolist(), strict=True))
    return {
        "schema": 1,
        "kind": "evaluation",
        "name": name,
        "use": options.name,
        "records": records,
        "per_class": per_class,
    }


def default_encoders(resolved: Resolved) -> tuple[str, ...]:
    """The untrained net of each view, every phase, and the first and the last phases of two views joined."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for phase in resolved.phases:
        first.setdefault(phase.views[0], phase.name)
        last[phase.views[0]] = phase.name
    untrained = [f"{RANDOM}/{view}" for view in last]
    phases = [phase.name for phase in resolved.phases]
    joined = ["+".join(names) for names in (untrained, first.values(), last.values())] if len(last) == 2 else []
    return tuple(dict.fromkeys([*untrained, *phases, *joined]))


def _parts(encoder: str, resolved: Resolved) -> list[str]:
    """The single encoders of `a+b`; `random` stands for the untrained net of every view, joined."""
    views = list(dict.fromkeys(phase.views[0] for phase in resolved.phases))
    everywhere = [f"{RANDOM}/{view}" for view in views]
    return [single for part in encoder.split("+") for single in (everywhere if part == RANDOM else [part])]


def _features(
    singles: list[str], options: Retrieval, dataset: str, split: str, trained: Trained
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    resolved, index = trained.resolved, trained.indices[dataset]
    encoders = {name: _encoder(name, trained) for name in singles}
    published = options.protocol == "coclr"
    ids: np.ndarray[Any, np.dtype[np.int64]] = index.ids(split)
    features: dict[str, torch.Tensor] = {}
    video_V = torch.from_numpy(ids)
    for clip, group in _by_clip(encoders, resolved):
        clips = TestClips(
            index,
            ids,
            {e.view: resolved.views[e.view] for e in group.values()},
            clip,
            trained.store,
            seed=resolved.seed,
            jitter=published,
            one_window=published and split == "train",
        )
        video_V, some = encode_videos(group, clips, resolved.launch.workers, trained.ranks)
        features |= some
    return video_V, features


def _by_clip(
    encoders: Mapping[str, FrozenEncoder], resolved: Resolved
) -> Iterator[tuple[Any, dict[str, FrozenEncoder]]]:
    """The encoders in groups that look at the same clips."""
    groups: dict[Any, dict[str, FrozenEncoder]] = {}
    for name, encoder in encoders.items():
        groups.setdefault(_phase_of(name, resolved).clip, {})[name] = encoder
    yield from groups.items()


def _phase_of(encoder: str, resolved: Resolved) -> Phase:
    if encoder.startswith(f"{RANDOM}/"):
        view = encoder.removeprefix(f"{RANDOM}/")
        return next(phase for phase in resolved.phases if phase.views[0] == view)
    return resolved.phase(encoder)


def _encoder(name: str, trained: Trained) -> FrozenEncoder:
    phase = _phase_of(name, trained.resolved)
    network = build_encoder(phase)
    if not name.startswith(f"{RANDOM}/"):
        fill(network, trained.weights[name], f"encoder '{name}'", None)
    view = phase.views[0]
    return FrozenEncoder(network, view, Normalise(trained.resolved.views[view]))


def _check(name: str, dataset: str, index: Index) -> None:
    for split in ("train", "test"):
        if not len(index.ids(split)):
            raise CprspecError(Problem(f"evaluation '{name}': data set '{dataset}' has no {split} videos"))
    if not index.labelled:
        raise CprspecError(Problem(f"evaluation '{name}': retrieval needs labels and data set '{dataset}' has none"))
