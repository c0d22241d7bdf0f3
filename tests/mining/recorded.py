"""A recorded epoch made of random numbers, and mining in it written out slowly from the definition."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from cprspec.mining.recording import RecordedEpoch, Recording

CLASSES = ("ape", "zebra", "cat")
VIDEOS, ROWS, FEATURES = 36, 12, 6
LABEL = torch.arange(VIDEOS) % 3
SOURCE = torch.arange(VIDEOS) // 2


def recording(seed=0, *, filled=0, steps=6, batch=4, accumulate=1, world=1, mining=True):
    """MoCo's: a queue of 12 of which `filled` rows hold a clip, and `steps` batches."""
    rng = torch.Generator().manual_seed(seed)

    def features(count):
        return normalize(torch.randn(count, FEATURES, generator=rng))

    clips = {"video_M": torch.randperm(VIDEOS, generator=rng)[: steps * batch], "query_MD": features(steps * batch)}
    clips["key_MD"] = features(steps * batch)
    video_K = torch.full((ROWS,), -1)
    video_K[:filled] = torch.randperm(VIDEOS, generator=rng)[:filled]
    bank = {"key_KD": features(ROWS), "video_K": video_K, "pointer": torch.tensor(filled % ROWS)}
    if mining:
        clips["mining_MD"], bank["mining_KD"] = features(steps * batch), features(ROWS)
    epoch = RecordedEpoch(
        phase="p", dataset="d", epoch=4, seed=seed, batch_size=batch, accumulate=accumulate, world_size=world,
        threads=1, device="cpu", replay={"framework": "moco"},
    )  # fmt: skip
    return Recording(
        epoch=epoch, bank=bank, clips=clips, label_V=LABEL, source_V=SOURCE, usable_U=torch.arange(VIDEOS),
        classes=CLASSES, names=tuple(f"[b]{i}.mp4" for i in range(VIDEOS)),
    )  # fmt: skip


class Book:
    """A ledger that only remembers."""

    def __init__(self):
        self.queries, self.picks, self.counts, self.ranks = [], [], [], []

    def add(self, query_N, selected_NP, counts, *, direction="", ranks):
        self.queries.append(query_N.tolist())
        self.picks.append(selected_NP.tolist())
        self.counts.append(np.asarray(counts))
        self.ranks.append(ranks(np.arange(len(query_N))))


def slowly(found, stages, ratio, topk):
    """Queries and picks (videos) of every micro-batch that mines, by sorting lists."""
    bank = [(int(v), found.bank["key_KD"][i], found.bank["mining_KD"][i]) for i, v in enumerate(found.bank["video_K"])]
    at, queries, picks = int(found.bank["pointer"]), [], []
    size = found.epoch.batch_size // found.epoch.accumulate
    for first in range(0, len(found.video_M), found.epoch.batch_size):
        step = range(first, first + found.epoch.batch_size)
        if all(video >= 0 for video, _, _ in bank):
            for begin in range(first, first + found.epoch.batch_size, size):
                micro = range(begin, begin + size)
                queries.append([int(found.video_M[m]) for m in micro])
                picks.append([_pick(found, bank, m, stages, ratio, topk) for m in micro])
        for m in step:
            bank[at] = (int(found.video_M[m]), found.clips["key_MD"][m], found.clips["mining_MD"][m])
            at = (at + 1) % len(bank)
    return queries, picks


def _pick(found, bank, m, stages, ratio, topk):
    own = int(SOURCE[found.video_M[m]])
    left = [row for row in bank if int(SOURCE[row[0]]) != own]
    for stage in range(1, stages + 1):
        last = stage == stages
        if stage % 2 or last:
            left.sort(key=lambda row: -float(row[2] @ found.clips["mining_MD"][m]))
        else:
            left.sort(key=lambda row: -float(row[1] @ found.clips["query_MD"][m]))
        left = left[: topk if last else max(int(len(bank) * ratio**stage), topk)]
    return [row[0] for row in left] + [-1] * (topk - len(left))
