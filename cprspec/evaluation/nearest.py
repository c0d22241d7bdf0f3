"""The retrieval evaluator as a whole: features of galleries and queries, and how near those of a class are.

A gallery is the training split of the queries' own data set, or of another one; then only classes that both have count.
Videos without a label take no part. Shapes: Q queries, G gallery videos, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from cprspec.components.evaluators import Retrieval
from cprspec.errors import CprspecError, Place, Problem
from cprspec.evaluation.encoders import Features, Trained, features_of, parts_of
from cprspec.evaluation.kept import Kept
from cprspec.evaluation.retrieval import (
    Ranked,
    centred,
    class_recall_at_1,
    mean_average_precision,
    rank,
    recall_at,
    unit,
)
from cprspec.models.encoders import build_encoder
from cprspec.models.heads import conv5_features
from cprspec.spec.classes import NOT_SHARED, matched_classes
from cprspec.spec.encoders import default_encoders, phase_and_view
from cprspec.spec.schema import Resolved
from cprspec.spec.splits import official_split


def check_maps(resolved: Resolved) -> None:
    """CprspecError where a network's map is too small for IIC's features: said before training, not after it."""
    problems: list[Problem] = []
    for name, options in resolved.evaluate.items():
        if not isinstance(options, Retrieval) or options.protocol != "iic":
            continue
        wanted = options.encoders or default_encoders(resolved)
        looked_at = {
            phase_and_view(part, resolved)[0].name for encoder in wanted for part in parts_of(encoder, resolved)
        }
        for phase in (phase for phase in resolved.phases if phase.name in looked_at):
            with torch.device("meta"):  # shapes without any data
                encoder = build_encoder(phase).eval()
                clip = torch.empty(1, 3, phase.clip.frames, phase.clip.size, phase.clip.size)
            try:
                with torch.no_grad():
                    conv5_features(encoder[0](clip))
            except CprspecError as error:
                place = resolved.places.get(("evaluate", name), Place(str(resolved.source)))
                about = f"evaluation '{name}', phase '{phase.name}'"
                problems += [Problem(f"{about}: {p.message}", place, p.hint) for p in error.problems]
    if problems:
        raise CprspecError(problems)


@frozen
class Asked:
    """Which of the queries and gallery videos take part, and their classes by the gallery's numbers.

    `own_Q` is each query's class by its own data set's number. The masks are over all videos of a split.
    """

    query_mask: Tensor
    gallery_mask: Tensor
    label_Q: Tensor
    label_G: Tensor
    own_Q: Tensor


def retrieve(options: Retrieval, trained: Trained, work: Path) -> dict[str, Any]:
    """Flat records, R@1 per class for each encoder, and what was left out where the gallery is another data set."""
    resolved = trained.resolved
    wanted = options.encoders or default_encoders(resolved)
    singles = list(dict.fromkeys(part for encoder in wanted for part in parts_of(encoder, resolved)))
    kept = Kept(work, trained.ranks, trained.report)

    def look(dataset: str, split: str) -> Features:
        return features_of(
            singles, trained, dataset, split, protocol=options.protocol, precision=options.precision, kept=kept
        )

    facts: dict[str, Any] = {"records": [], "per_class": {}}
    galleries: dict[str, Features] = {}
    for dataset in options.datasets or (resolved.train_on,):
        gallery = options.gallery or dataset
        if gallery not in galleries:
            galleries = {gallery: look(gallery, "train")}  # one at a time: IIC's features are large
        (gallery_V, train), (query_V, test) = galleries[gallery], look(dataset, "test")
        asked = _asked(options, trained, dataset, query_V, gallery, gallery_V)
        classes = trained.indices[dataset].classes
        for encoder in wanted:
            parts = parts_of(encoder, resolved)
            test_QF, train_GF = compared(options.protocol, [test[p] for p in parts], [train[p] for p in parts])
            ranked = rank(test_QF[asked.query_mask], train_GF[asked.gallery_mask], asked.label_Q, asked.label_G)
            facts["records"] += _records(options, trained, dataset, encoder, ranked)
            recall_C, _ = class_recall_at_1(ranked, asked.own_Q, len(classes))
            of_class = dict(zip(classes, recall_C.tolist(), strict=True))
            facts["per_class"].setdefault(dataset, {})[encoder] = of_class
        if gallery != dataset:
            facts.setdefault("left_out", {})[dataset] = _left_out(asked, classes)
    return facts


def _asked(
    options: Retrieval, trained: Trained, dataset: str, query_V: Tensor, gallery: str, gallery_V: Tensor
) -> Asked:
    """Labelled videos; of two data sets those of classes that both have."""
    own, other = trained.indices[dataset], trained.indices[gallery]
    own_V, label_V = torch.from_numpy(own.labels)[query_V], torch.from_numpy(other.labels)[gallery_V]
    if dataset == gallery:
        query_mask, gallery_mask = own_V >= 0, label_V >= 0
        return Asked(query_mask, gallery_mask, own_V[query_mask], label_V[gallery_mask], own_V[query_mask])
    matched_C = torch.tensor([*matched_classes(own.classes, other.classes, options.classes or {}), NOT_SHARED])
    matched_V = matched_C[own_V]  # -1, no label, takes the last
    query_mask = matched_V != NOT_SHARED
    gallery_mask = torch.isin(label_V, matched_C[matched_C != NOT_SHARED])
    return Asked(query_mask, gallery_mask, matched_V[query_mask], label_V[gallery_mask], own_V[query_mask])


def compared(protocol: str, test: Sequence[Tensor], train: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What is compared by inner products, of whole splits `[Q,F]` and `[G,F]`.

    Joined encoders add their cosines (CoCLR), so their features of unit length stand beside each other; or are one long
    feature of unit length (IIC).
    """
    if protocol == "iic":
        return unit(torch.cat([*test], 1)), unit(torch.cat([*train], 1))
    pairs = [centred(test_QF, train_GF) for test_QF, train_GF in zip(test, train, strict=True)]
    return torch.cat([test_QF for test_QF, _ in pairs], 1), torch.cat([train_GF for _, train_GF in pairs], 1)


def _records(options: Retrieval, trained: Trained, dataset: str, encoder: str, ranked: Ranked) -> list[dict[str, Any]]:
    measures = {f"R@{k}": value for k, value in recall_at(ranked, options.k).items()}
    measures["mAP"] = mean_average_precision(ranked)
    family, split = official_split(dataset, trained.resolved.datasets)
    in_precision = "" if options.precision == "float32" else f"-{options.precision}"
    base = {
        "n": len(ranked.rank_Q), "dataset": family, "split": split, "encoder": encoder,
        "protocol": f"retrieval-{options.protocol}{in_precision}", "unit": "video", "seed": trained.resolved.seed,
    }  # fmt: skip
    if options.gallery and options.gallery != dataset:
        base |= {"protocol": f"{base['protocol']}-in-{options.gallery}", "gallery": options.gallery}
    return [{"metric": metric, "value": value, **base} for metric, value in measures.items()]


def _left_out(asked: Asked, classes: Sequence[str]) -> dict[str, Any]:
    """How much of both data sets was left out, and the queries' classes that took part."""
    return {
        "queries": int((~asked.query_mask).sum()),
        "gallery": int((~asked.gallery_mask).sum()),
        "classes_asked": [classes[c] for c in asked.own_Q.unique().tolist()],
    }
