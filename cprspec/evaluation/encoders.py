"""The encoders that an evaluation looks at, and the features of a data set's videos under each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from attrs import asdict, frozen

from cprspec.components.augments import Crop
from cprspec.data.index import Index
from cprspec.evaluation.features import FrozenEncoder, Keeping, choose_for, encode_videos
from cprspec.evaluation.kept import Kept
from cprspec.learning.ranks import Ranks
from cprspec.models.encoders import Weights, build_encoder, fill
from cprspec.models.frozen import freeze
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

    `pause` is called between videos, and may raise to end the evaluation; before it does it calls its argument, which saves
    what is done. So does `pause_together`, which is called where all ranks are in step. `report` takes events, on every rank.
    `world_size_change`: what another number of ranks began may be gone on with, which is not exact.
    """

    resolved: Resolved
    indices: Mapping[str, Index]
    store: Store
    weights: Mapping[str, Weights]
    ranks: Ranks
    pause: Callable[[Callable[[], None]], None]
    pause_together: Callable[[Callable[[], None]], None]
    report: Callable[[Event], None]
    world_size_change: bool = False


def parts_of(encoder: str, resolved: Resolved) -> list[str]:
    """The single encoders that `encoder` joins (spec/encoders.py)."""
    return list(singles_of(encoder, phase_views(resolved)))


def features_of(
    encoders: Iterable[str],
    trained: Trained,
    dataset: str,
    split: str,
    *,
    protocol: str = "default",
    precision: str = "float32",
    kept: Kept | None = None,
) -> Features:
    """Features of the videos of a split under each single encoder, by a protocol of retrieval.

    `coclr`: with the randomness that is published (PROTOCOL 2.2, 22); `iic`: IIC's clips and flattened maps (4.2).
    `precision` is the encoders'. What is done so far goes to `kept`, from where a later attempt takes it.
    """
    resolved, index = trained.resolved, trained.indices[dataset]
    ids = index.ids(split)
    video_V = torch.from_numpy(ids)
    features: dict[str, torch.Tensor] = {}
    frozen_by_name = frozen_encoders(encoders, trained, precision, conv5=protocol == "iic")
    for number, (clip, crop, group) in enumerate(_by_clip(frozen_by_name, resolved, protocol)):
        clips = TestClips(
            index,
            ids,
            {e.view: resolved.views[e.view] for e in group.values()},
            clip,
            trained.store,
            seed=resolved.seed,
            jitter=protocol == "coclr",
            one_window=protocol == "coclr" and split == "train",
            iic=protocol == "iic",
            crop=crop,
        )
        facts = {
            "encoders": [*group],
            "clip": asdict(clip),
            "crop": str(crop),
            "protocol": protocol,
            "precision": precision,
            "data": index.digest(),
        }
        name = f"features@{dataset}@{split}@{number}"
        choose_for(group, clip, resolved.launch, trained.ranks)
        keeping = Keeping(kept, name, facts, partial(trained.pause_together, nothing_to_save)) if kept else None
        pause = partial(trained.pause, nothing_to_save)
        video_V, some = encode_videos(group, clips, resolved.launch, trained.ranks, pause, keeping)
        features |= some
    return video_V, features


def nothing_to_save() -> None:
    """For a pause where what is done is kept already, or is little."""


def frozen_encoders(
    singles: Iterable[str], trained: Trained, precision: str = "float32", *, conv5: bool = False
) -> dict[str, FrozenEncoder]:
    """Single encoders by name; those of one phase share its network. `conv5`: IIC's features are wanted of them."""
    resolved = trained.resolved
    networks: dict[tuple[str, bool], Encoder] = {}
    result: dict[str, FrozenEncoder] = {}
    for single in singles:
        phase, view = phase_and_view(single, resolved)
        whose = phase.name, RANDOM in phases_of(single)
        if whose not in networks:
            networks[whose] = freeze(encoder_of(single, trained), precision)
        result[single] = FrozenEncoder(networks[whose], view, Normalise(resolved.views[view]), conv5)
    return result


def encoder_of(single: str, trained: Trained) -> Encoder:
    """The network of a single encoder as it was trained, or untrained; a new one each time."""
    phase, _ = phase_and_view(single, trained.resolved)
    network = build_encoder(phase)
    if RANDOM not in phases_of(single):
        fill(network, trained.weights[phase.name], f"encoder '{phase.name}'", None)
    return network


def _by_clip(
    encoders: Mapping[str, FrozenEncoder], resolved: Resolved, protocol: str
) -> Iterator[tuple[Clip, Crop | None, dict[str, FrozenEncoder]]]:
    """The encoders in groups that look at the same clips; IIC's protocol crops as a phase was trained."""
    groups: dict[tuple[Clip, Crop | None], dict[str, FrozenEncoder]] = {}
    for name, encoder in encoders.items():
        phase = phase_and_view(name, resolved)[0]
        crop = phase.augment if protocol == "iic" and isinstance(phase.augment, Crop) else None
        groups.setdefault((phase.clip, crop), {})[name] = encoder
    yield from ((clip, crop, group) for (clip, crop), group in groups.items())
