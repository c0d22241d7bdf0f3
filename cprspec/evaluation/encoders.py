"""The encoders that an evaluation looks at, and the features of a data set's videos under each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from attrs import frozen

from cprspec.data.index import Index
from cprspec.evaluation.features import FrozenEncoder, encode_videos
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.runs.events import Event
from cprspec.spec.schema import RANDOM, Clip, Phase, Resolved
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


def parts_of(encoder: str, resolved: Resolved) -> list[str]:
    """The single encoders of `a+b`; `random` stands for the untrained net of every view, joined."""
    views = list(dict.fromkeys(phase.views[0] for phase in resolved.phases))
    everywhere = [f"{RANDOM}/{view}" for view in views]
    return [single for part in encoder.split("+") for single in (everywhere if part == RANDOM else [part])]


def features_of(
    encoders: Iterable[str], trained: Trained, dataset: str, split: str, *, published: bool = False
) -> Features:
    """Features of the videos of a split under each single encoder; `published`: CoCLR's protocol (PROTOCOL 2.2, 22)."""
    resolved, index = trained.resolved, trained.indices[dataset]
    ids = index.ids(split)
    features: dict[str, torch.Tensor] = {}
    video_V = torch.from_numpy(ids)
    for clip, group in _by_clip({name: _encoder(name, trained) for name in encoders}, resolved):
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


def _by_clip(
    encoders: Mapping[str, FrozenEncoder], resolved: Resolved
) -> Iterator[tuple[Clip, dict[str, FrozenEncoder]]]:
    """The encoders in groups that look at the same clips."""
    groups: dict[Clip, dict[str, FrozenEncoder]] = {}
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
