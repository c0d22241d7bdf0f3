"""Judging an epoch's picks by labels that no miner sees: precision, CMR, funnel, class table, examples.

Definitions: mining/cmr.py, mining/funnel.py. The ledger collects the picks.

Legend: M queries of an epoch, P picks of a query, V videos of the data set, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.mining.cmr import ClassRecall, class_mining_recall, true_positives
from cprspec.mining.picks import RANKS_SHOWN
from cprspec.training.examples import Sample
from cprspec.training.mining_table import (
    ClassRow,
    Example,
    FunnelStage,
    MinedVideo,
    MiningTable,
    RecallSummary,
    or_none,
)

Ints = NDArray[np.int64]

LABELS_NEEDED = "labels needed: without them nobody knows which picks are right"


@frozen(eq=False)
class Facts:
    """What the ledger knows of the data set: class and source of each video (-1: no label), what can be mined, names."""

    label_V: Ints
    source_V: Ints
    usable_V: NDArray[np.bool_]
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def class_name(self, label: int) -> str | None:
        """The class's name, its number as text where names are unknown, None without a label."""
        if label < 0:
            return None
        return self.classes[label] if label < len(self.classes) else str(label)

    def video_name(self, video: int) -> str:
        """The video's name, or its number as text where names are unknown."""
        return self.names[video] if video < len(self.names) else str(video)


@frozen(eq=False)
class _Epoch:
    """One epoch's picks and which of them are right; `judged_MP`: both labels are known."""

    query_M: Ints
    selected_MP: Ints
    column_MP: Ints
    right_MP: NDArray[np.bool_]
    judged_MP: NDArray[np.bool_]
    by_source: ClassRecall
    by_video: ClassRecall


def judge(
    facts: Facts,
    query_M: Ints,
    selected_MP: Ints,
    column_MP: Ints,
    counts: Ints | None,
    *,
    epoch: int,
    phase: str,
    dataset: str,
    sample: Sample,
    ranks: Mapping[int, Ints],
) -> MiningTable:
    """The table of one epoch in which `query_M` selected `selected_MP` (-1: none); `counts` are its summed `stage_counts`.

    `column_MP`: where each pick stood among what the miner gave, which is its rank. `ranks`: for some queries the rank
    `[P,S]` of each of their picks among the survivors of each stage.
    """
    label_V = facts.label_V
    labelled = bool((label_V[facts.usable_V] >= 0).any())
    videos_V = np.arange(len(label_V))

    def recall(unit_V: Ints) -> ClassRecall:
        return class_mining_recall(
            query_M,
            selected_MP,
            label_V,
            unit_V,
            source_V=facts.source_V,
            usable_V=facts.usable_V,
            classes=len(facts.classes),
        )

    judged_MP = (selected_MP >= 0) & (label_V[query_M] >= 0)[:, None] & (label_V[selected_MP] >= 0)
    seen = _Epoch(
        query_M,
        selected_MP,
        column_MP,
        true_positives(query_M, selected_MP, label_V, facts.source_V),
        judged_MP,
        by_source=recall(facts.source_V),
        by_video=recall(videos_V),
    )
    right, judged = int(seen.right_MP.sum()), int(judged_MP.sum())
    return MiningTable(
        phase=phase,
        dataset=dataset,
        epoch=epoch,
        queries=len(query_M),
        picks=int((selected_MP >= 0).sum()),
        true_positives=right if labelled else None,
        precision=right / judged if judged else None,
        cmr_source=_summary(seen.by_source) if labelled else None,
        cmr_video=_summary(seen.by_video) if labelled else None,
        funnel=_funnel(counts) if labelled else (),
        classes=_class_rows(facts, seen) if labelled else (),
        examples=_examples(facts, seen, sample, ranks),
        note=None if labelled else LABELS_NEEDED,
    )


def _summary(recall: ClassRecall) -> RecallSummary:
    return RecallSummary(
        median=or_none(recall.median),
        mean=or_none(recall.mean),
        median_random=or_none(recall.median_random),
        mean_random=or_none(recall.mean_random),
        perfect=recall.perfect,
        defined=recall.defined,
        undefined=recall.undefined,
    )


def _funnel(counts: Ints | None) -> tuple[FunnelStage, ...]:
    rows = [] if counts is None else counts.tolist()
    return tuple(FunnelStage(stage=s, survivors=n, true_positives=t, in_bank=b) for s, (n, t, b) in enumerate(rows))


def _class_rows(facts: Facts, seen: _Epoch) -> tuple[ClassRow, ...]:
    """A row for each class, by name; counts of queries and picks are of queries of the class."""
    label_M = facts.label_V[seen.query_M]
    size = len(seen.by_source.recall_C)
    of_class = label_M >= 0

    def per_class(values_M: NDArray[np.int64]) -> Ints:
        return np.bincount(label_M[of_class], weights=values_M[of_class], minlength=size).astype(np.int64)

    queries_C = per_class(np.ones(len(label_M), np.int64))
    picks_C = per_class(seen.judged_MP.sum(1))
    right_C = per_class(seen.right_MP.sum(1))
    rows = [
        ClassRow(
            name=facts.class_name(c) or "",
            sources=int(seen.by_source.instances_C[c]),
            videos=int(seen.by_video.instances_C[c]),
            queries=int(queries_C[c]),
            picks=int(picks_C[c]),
            precision=float(right_C[c] / picks_C[c]) if picks_C[c] else None,
            covered_sources=int(seen.by_source.covered_C[c]),
            covered_videos=int(seen.by_video.covered_C[c]),
            cmr_source=or_none(seen.by_source.recall_C[c]),
            cmr_video=or_none(seen.by_video.recall_C[c]),
            random_source=or_none(seen.by_source.random_C[c]),
            random_video=or_none(seen.by_video.random_C[c]),
        )
        for c in range(size)
    ]
    return tuple(sorted(rows, key=lambda row: row.name))


def _examples(facts: Facts, seen: _Epoch, sample: Sample, ranks: Mapping[int, Ints]) -> tuple[Example, ...]:
    shown = sample.shown(facts.label_V[seen.query_M], seen.selected_MP)
    return tuple(_example(facts, seen, m, ranks.get(m)) for m in shown)


def _example(facts: Facts, seen: _Epoch, m: int, ranks_PS: Ints | None) -> Example:
    query = int(seen.query_M[m])
    stages = [] if ranks_PS is None else [tuple(None if r < 0 else r for r in row) for row in ranks_PS.tolist()]
    columns = np.flatnonzero(seen.selected_MP[m] >= 0)[:RANKS_SHOWN].tolist()
    mined = []
    for i, column in enumerate(columns):
        video = int(seen.selected_MP[m, column])
        mined.append(
            MinedVideo(
                rank=int(seen.column_MP[m, column]),
                video=video,
                name=facts.video_name(video),
                label=facts.class_name(int(facts.label_V[video])),
                right=bool(seen.right_MP[m, column]) if seen.judged_MP[m, column] else None,
                stages=stages[i] if i < len(stages) else None,
            )
        )
    return Example(
        video=query,
        name=facts.video_name(query),
        label=facts.class_name(int(facts.label_V[query])),
        mined=tuple(mined),
    )
