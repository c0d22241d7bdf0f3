"""The encoders that an evaluation looks at, and the features of a data set's videos under each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from attrs import frozen

from cprspec.data.index import Index
from cprspec.evaluation.features import FrozenEncoder, encode_videos
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.models.heads import Encoder
from cprspec.runs.events import Event
from cprspec.spec.encoders import phase_and_view, phase_views, phases_of, singles_of
from cprspec.spec.schema import RANDOM, Clip, Resolved
from cprspec.video.clips import TestClips
from cprspec.video.normalise import Normalise
from cprspec.video.store import Store

Features = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Video ids `[V]`, ascending, and features `[V,F]` for each encoder."""


@frozen(kw_only=True)
class Trained:
    """What evaluation needs of a run: the experiment, its data, and each phase's encoder weights.

    `pause` is called between videos, and may raise to end the evaluation. `pause_together` is called where all ranks are
    in step; before it raises it calls its argument, which saves what is done. `report` takes events, on every rank.
    """

    resolved: Resolved
    indices: Mapping[str, Index]
    store: Store
    weights: Mapping[str, Weights]
    ranks: Ranks
    pause: Callable[[], None]
    pause_together: Callable[[Callable[[], None]], None]
    report: Callable[[Event], None]


def parts_of(encoder: str, resolved: Resolved) -> list[str]:
    """The single encoders that `encoder` joins (spec/encoders.py)."""
    return list(singles_of(encoder, phase_views(resolved)))


def features_of(
    encoders: Iterable[str], trained: Trained, dataset: str, split: str, *, published: bool = False
) -> Features:
    """Features of the videos of a split under each single encoder; `published`: CoCLR's protocol (PROTOCOL 2.2, 22)."""
    resolved, index = trained.resolved, trained.indices[dataset]
    ids = index.ids(split)
    features: dict[str, torch.Tensor] = {}
    video_V = torch.from_numpy(ids)
    for clip, group in _by_clip(frozen_encoders(encoders, trained), resolved):
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
        video_V, some = encode_videos(group, clips, resolved.launch.workers, trained.ranks, trained.pause)
        features |= some
    return video_V, features


def frozen_encoders(singles: Iterable[str], trained: Trained) -> dict[str, FrozenEncoder]:
    """Single encoders by name; those of one phase share its network."""
    resolved = trained.resolved
    networks: dict[tuple[str, bool], Encoder] = {}
    result: dict[str, FrozenEncoder] = {}
    for single in singles:
        phase, view = phase_and_view(single, resolved)
        untrained = RANDOM in phases_of(single)
        network = networks.get((phase.name, untrained))
        if network is None:
            network = networks[phase.name, untrained] = build_encoder(phase)
            if not untrained:
                fill(network, trained.weights[phase.name], f"encoder '{phase.name}'", None)
        result[single] = FrozenEncoder(network, view, Normalise(resolved.views[view]))
    return result


def _by_clip(
    encoders: Mapping[str, FrozenEncoder], resolved: Resolved
) -> Iterator[tuple[Clip, dict[str, FrozenEncoder]]]:
    """The encoders in groups that look at the same clips."""
    groups: dict[Clip, dict[str, FrozenEncoder]] = {}
    for name, encoder in encoders.items():
        groups.setdefault(phase_and_view(name, resolved)[0].clip, {})[name] = encoder
    yield from groups.items()
