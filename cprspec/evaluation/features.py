"""Features of whole videos: every window encoded, each window's feature L2-normalised, their mean per video.

IIC's features are another kind: the flattened map, as it is. One pass over the videos serves every encoder, since reading
costs more than a small network does. Ranks share the videos; nothing is dropped or padded. A pass may be kept part by part,
so that one that is cut off goes on after its last whole part and ends with the same numbers; then its features lie on disk
(rows.py), and a rank has one part of them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from attrs import evolve, frozen
from torch import Tensor, nn
from torch.nn import functional

from cprspec.errors import CprspecError, Problem
from cprspec.evaluation.kept import Kept
from cprspec.evaluation.rows import RowFiles
from cprspec.learning.convolutions import choose_convolutions
from cprspec.learning.exchange import gather_cat
from cprspec.learning.ranks import Ranks, wait_for_all
from cprspec.learning.waits import waiting
from cprspec.models.heads import Encoder, conv5_features
from cprspec.spec.schema import Clip, Launch
from cprspec.video.clips import TestClips
from cprspec.video.normalise import Normalise
from cprspec.video.supply import Item, Supply

WINDOWS_AT_ONCE = 32
"""Windows encoded in one forward pass: bounds memory, whatever a video's length."""

VIDEOS_IN_PART = 64
"""Videos of all ranks that are kept together."""

IDS = ""
"""What the ids are called among a part's features; no encoder has the name."""


@frozen
class FrozenEncoder:
    """An encoder in evaluation: the network, the view it sees, what makes its input, and which feature is wanted of it.

    The network is one that `freeze` (models/frozen.py) made ready; its weights say the precision. `conv5`: IIC's flattened
    map (models/heads.py) instead of the normalised pooled feature.
    """

    network: Encoder
    view: str
    to_input: Normalise
    conv5: bool = False

    def of_clips(self, clip_NTHWC: Tensor) -> Tensor:
        """Features `[N,F]`, float32, of clips as bytes."""
        clip_NCTHW = self.to_input(clip_NTHWC).to(next(self.network.parameters()).dtype)
        if self.conv5:
            return conv5_features(self.network[0](clip_NCTHW)).float()
        return functional.normalize(self.network.features(clip_NCTHW).float(), dim=1)


def choose_for(encoders: Mapping[str, FrozenEncoder], clip: Clip, launch: Launch, ranks: Ranks) -> None:
    """Have the encoders compute convolutions as `launch.convolutions` says, for windows of `clip`."""
    for network in {id(encoder.network): encoder.network for encoder in encoders.values()}.values():
        network.to(ranks.device)
        choose_convolutions(network, launch.convolutions, network[0], clip, 8, ranks, learning=False)


class SeesClips(Protocol):
    """What a pass over videos asks of an encoder: `of_clips` gives rows `[N,F]` that are averaged over a video's clips."""

    @property
    def network(self) -> nn.Module:
        """Moved to the device and put into evaluation mode."""

    @property
    def view(self) -> str:
        """The view of the clips it sees."""

    @property
    def to_input(self) -> Normalise:
        """What makes its input."""

    def of_clips(self, clip_NTHWC: Tensor) -> Tensor:
        """Rows `[N,F]`, float32, of clips as bytes."""


@frozen
class Keeping:
    """Where the parts of one pass are kept, by which name, and the facts that a part must agree with to be used again.

    `pause` is called between parts, where all ranks are in step, and may raise.
    """

    kept: Kept
    name: str
    facts: Mapping[str, Any]
    pause: Callable[[], None]

    def get(self, number: int) -> dict[str, Tensor] | None:
        """A part of an earlier attempt; every rank must ask."""
        found = self.kept.get(f"{self.name}@{number}")
        if found is None or found[1] != self.facts:
            return None
        return {name[1:]: rows for name, rows in found[0].items()}

    def put(self, number: int, part: Mapping[str, Tensor]) -> None:
        """Keep a finished part."""
        self.kept.put(f"{self.name}@{number}", {f"@{name}": rows for name, rows in part.items()}, self.facts)


@torch.inference_mode()
def encode_videos(
    encoders: Mapping[str, SeesClips],
    clips: TestClips,
    launch: Launch,
    ranks: Ranks,
    pause: Callable[[], None] | None = None,
    keeping: Keeping | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Video ids `[V]`, ascending, and for each encoder features `[V,F]`, float32 on the CPU, on every rank.

    `pause` is called between videos on each rank by itself, and may raise. With `keeping` the features are maps of files.
    """
    for encoder in encoders.values():
        encoder.network.to(ranks.device).eval()
        encoder.to_input.to(ranks.device)
    made = _parts(encoders, clips, launch, ranks, pause, keeping)
    if keeping is None:
        (features,) = made
        return features.pop(IDS), features
    ids: list[Tensor] = []
    with RowFiles(keeping.kept.folder, keeping.name, ranks) as files:
        for part in made:
            ids.append(part.pop(IDS))
            files.append(part)
        features = files.mapped()
    video_V, order_V = torch.cat(ids).sort()
    if bool((order_V == torch.arange(len(order_V))).all()):
        return video_V, features
    return video_V, {name: rows[order_V] for name, rows in features.items()}


def _parts(
    encoders: Mapping[str, SeesClips],
    clips: TestClips,
    launch: Launch,
    ranks: Ranks,
    pause: Callable[[], None] | None,
    keeping: Keeping | None,
) -> Iterator[dict[str, Tensor]]:
    """Ids and features of the videos part by part, ids ascending within each; one part of all if nothing is kept."""
    size = VIDEOS_IN_PART if keeping else max(1, len(clips))
    parts = [range(start, min(start + size, len(clips))) for start in range(0, max(1, len(clips)), size)]
    done = 0
    while keeping and done < len(parts) and (kept := keeping.get(done)) is not None:
        yield _by_id(kept)
        done += 1
    mine = [[*part[ranks.rank :: ranks.world]] for part in parts[done:]]
    every = [[position] for some in mine for position in some]
    with Supply(clips, every, evolve(launch, workers=min(launch.workers, len(every)))) as videos:
        for number, some in enumerate(mine, start=done):
            part = _encode_part(encoders, (next(videos) for _ in some), ranks, pause)
            if keeping:
                keeping.put(number, part)
                keeping.pause()
            yield _by_id(part)


def _by_id(part: dict[str, Tensor]) -> dict[str, Tensor]:
    order = part[IDS].argsort()
    return {name: rows[order] for name, rows in part.items()}


def _encode_part(
    encoders: Mapping[str, SeesClips], videos: Iterator[Item], ranks: Ranks, pause: Callable[[], None] | None
) -> dict[str, Tensor]:
    """Ids and features of the videos of all ranks, rank after rank."""
    rows: dict[str, list[Tensor]] = {name: [] for name in encoders}
    ids = [torch.empty(0, dtype=torch.int64)]
    for video in videos:
        if pause is not None:
            pause()
        ids.append(video["video"])
        for name, encoder in encoders.items():
            rows[name].append(video_feature(encoder, video[encoder.view][0], ranks.device))
    wait_for_all(ranks)  # hours may pass, and ranks are not in step
    part = {name: _gather_uneven(_joined(some, ranks), ranks) for name, some in rows.items()}
    for name, feature_VF in part.items():
        if broken := int((~feature_VF.isfinite()).any(1).sum()):
            message = f"encoder '{name}' gives features that are not finite, for {broken} of {len(feature_VF)} videos"
            hint = "its weights or the statistics of its batch norms are broken: train it anew"
            raise CprspecError(Problem(message, hint=hint), exit_code=1)
    return {IDS: _gather_uneven(torch.cat(ids), ranks), **part}


def video_feature(encoder: SeesClips, clip_WTHWC: Tensor, device: torch.device) -> Tensor:
    """The feature `[1,F]` of one video.

    By itself: the last bits depend on how many clips a network sees at once, and so neither on the videos beside it nor on
    ranks, parts or who asks.
    """
    chunks = clip_WTHWC.split(WINDOWS_AT_ONCE)
    feature_WF = torch.cat([encoder.of_clips(chunk.to(device, non_blocking=True)) for chunk in chunks])
    return feature_WF.mean(0, keepdim=True).cpu()


def _joined(rows: Sequence[Tensor], ranks: Ranks) -> Tensor:
    """The rows `[V,F]` of this rank; F is told by the others where it has none."""
    size = ranks.largest(rows[0].shape[1] if rows else 0)
    return torch.cat([torch.empty(0, size), *rows])


@waiting()
def _gather_uneven(rows: Tensor, ranks: Ranks) -> Tensor:
    if ranks.world == 1:
        return rows
    longest = ranks.largest(len(rows))
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    counts = gather_cat(torch.tensor([len(rows)], device=ranks.device)).tolist()
    together = gather_cat(padded.to(ranks.device)).cpu().chunk(ranks.world) if longest else [rows] * ranks.world
    return torch.cat([part[:count] for part, count in zip(together, counts, strict=True)])
