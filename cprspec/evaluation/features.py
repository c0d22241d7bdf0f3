"""Features of whole videos: every window encoded, each window's feature L2-normalised, their mean per video.

One pass over the videos serves every encoder, since reading costs more than a small network does. Ranks share the
videos; nothing is dropped or padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from attrs import frozen
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from cprspec.learning.exchange import gather_cat
from cprspec.learning.ranks import Ranks, wait_for_all
from cprspec.models.heads import Encoder
from cprspec.video.clips import Item, TestClips, one_thread
from cprspec.video.normalise import Normalise

WINDOWS_AT_ONCE = 32
"""Windows encoded in one forward pass: bounds memory, whatever a video's length."""

BYTES_AT_ONCE = 64 * 2**20
"""About how many bytes of clips travel together from a data worker."""


@frozen
class FrozenEncoder:
    """An encoder in evaluation: the network, the view it sees, and what makes its input."""

    network: Encoder
    view: str
    to_input: Normalise


@torch.inference_mode()
def encode_videos(
    encoders: Mapping[str, FrozenEncoder],
    clips: TestClips,
    workers: int,
    ranks: Ranks,
    pause: Callable[[], None] | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Video ids `[V]`, ascending, and for each encoder features `[V,F]`, float32 on the CPU, on every rank."""
    for encoder in encoders.values():
        encoder.network.to(ranks.device).eval()
        encoder.to_input.to(ranks.device)
    mine = range(ranks.rank, len(clips), ranks.world)
    workers = min(workers, len(mine))
    loader: DataLoader[Item] = DataLoader(
        Subset(clips, mine),
        batch_size=clips.videos_in(BYTES_AT_ONCE),
        collate_fn=join_videos,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=one_thread if workers else None,
    )
    ids = [torch.empty(0, dtype=torch.int64)]
    rows = {name: [torch.empty(0, e.network.feature_size)] for name, e in encoders.items()}
    for videos in loader:
        if pause is not None:
            pause()
        ids.append(videos["video"])
        for name, encoder in encoders.items():
            rows[name].append(_video_features(encoder, videos[encoder.view], videos["windows"], ranks.device))
    wait_for_all(ranks)  # hours may pass, and ranks are not in step
    video_V = _gather_uneven(torch.cat(ids), ranks)
    order = video_V.argsort()
    return video_V[order], {name: _gather_uneven(torch.cat(r), ranks)[order] for name, r in rows.items()}


def join_videos(items: list[Item]) -> Item:
    """Several videos as one item: ids `video [V]`, numbers of `windows [V]`, and per view all windows in turn.

    In the data worker, since passing a tensor between processes costs more than a small video does.
    """
    views = [name for name in items[0] if name != "video"]
    joined = {name: torch.cat([item[name] for item in items]) for name in views}
    joined["video"] = torch.stack([item["video"] for item in items])
    joined["windows"] = torch.tensor([len(item[views[0]]) for item in items])
    return joined


def _video_features(
    encoder: FrozenEncoder, clip_WTHWC: torch.Tensor, windows_V: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """Features `[V,F]` of videos whose windows follow each other in `clip_WTHWC`."""
    parts = []
    for chunk in clip_WTHWC.split(WINDOWS_AT_ONCE):
        feature_WF = encoder.network.features(encoder.to_input(chunk.to(device, non_blocking=True)))
        parts.append(functional.normalize(feature_WF.float(), dim=1))
    per_video = torch.cat(parts).split(windows_V.tolist())
    return torch.stack([feature_WF.mean(0) for feature_WF in per_video]).cpu()


def _gather_uneven(rows: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    if ranks.world == 1:
        return rows
    longest = ranks.largest(len(rows))
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    counts = gather_cat(torch.tensor([len(rows)], device=ranks.device)).tolist()
    together = gather_cat(padded.to(ranks.device)).cpu().split(longest)
    return torch.cat([part[:count] for part, count in zip(together, counts, strict=True)])
