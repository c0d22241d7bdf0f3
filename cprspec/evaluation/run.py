"""Running the evaluators of an experiment: features once for each data set and split, then what they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen

from cprspec.components.evaluators import Embeddings, Retrieval
from cprspec.errors import CprspecError
from cprspec.evaluation.encoders import Trained, features_of, parts_of
from cprspec.evaluation.retrieval import class_recall_at_1, mean_average_precision, recall_at, similarity
from cprspec.spec.encoders import default_encoders
from cprspec.spec.kinds import Evaluator

Record = dict[str, Any]


@frozen
class Result:
    """What an evaluation found: the content of its JSON file, and tensors to lie beside it."""

    facts: dict[str, Any]
    tensors: dict[str, torch.Tensor] = field(factory=dict)


def evaluate(name: str, options: Evaluator, trained: Trained, work: Path) -> Result:
    """Run the evaluation `name`; the same on every rank.

    `work` is a folder, perhaps not there yet, for what a killed evaluation need not do again; rank 0 writes it, all may
    read it, and it is removed once the result is on disk.
    """
    about = {"schema": 1, "kind": "evaluation", "name": name, "use": options.name}
    match options:
        case Retrieval():
            return Result({**about, **retrieve(options, trained)})
        case Embeddings():
            facts, tensors = embed(options, trained)
            return Result({**about, **facts}, tensors)
    raise CprspecError(f"evaluation '{name}': '{options.name}' cannot be run by this version")


def retrieve(options: Retrieval, trained: Trained) -> dict[str, Any]:
    """Flat records, and R@1 per class for each encoder."""
    wanted = options.encoders or default_encoders(trained.resolved)
    records: list[Record] = []
    per_class: dict[str, Any] = {}
    for dataset in options.datasets or (trained.resolved.train_on,):
        index = trained.indices[dataset]
        singles = _singles(wanted, trained)
        published = options.protocol == "coclr"
        gallery, train = features_of(singles, trained, dataset, "train", published=published)
        queries, test = features_of(singles, trained, dataset, "test", published=published)
        # Videos without a label are neither queries nor answers.
        label_V = torch.from_numpy(index.labels)
        asked, known = label_V[queries] >= 0, label_V[gallery] >= 0
        for encoder in wanted:
            scores = [
                similarity(test[part], train[part])[asked][:, known] for part in parts_of(encoder, trained.resolved)
            ]
            judged = (torch.stack(scores).sum(0), label_V[queries[asked]], label_V[gallery[known]])
            measures = {f"R@{k}": value for k, value in recall_at(*judged, options.k).items()}
            measures["mAP"] = mean_average_precision(*judged)
            base = {
                "n": int(asked.sum()), "dataset": dataset, "split": "test", "encoder": encoder,
                "protocol": f"retrieval-{options.protocol}", "unit": "video", "seed": trained.resolved.seed,
            }  # fmt: skip
            records += [{"metric": metric, "value": value, **base} for metric, value in measures.items()]
            recall_C, _ = class_recall_at_1(*judged, len(index.classes))
            per_class.setdefault(dataset, {})[encoder] = dict(zip(index.classes, recall_C.tolist(), strict=True))
    return {"records": records, "per_class": per_class}


def embed(options: Embeddings, trained: Trained) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The names of the videos, and their features as tensors `DATASET/ENCODER` `[V,F]`, rows as the names."""
    videos: dict[str, list[str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    singles = _singles(options.encoders or default_encoders(trained.resolved), trained)
    for dataset in options.datasets or (trained.resolved.train_on,):
        index = trained.indices[dataset]
        parts = [features_of(singles, trained, dataset, split) for split in index.splits]
        videos[dataset] = [index.videos[v].name for ids, _ in parts for v in ids.tolist()]
        tensors |= {f"{dataset}/{name}": torch.cat([features[name] for _, features in parts]) for name in singles}
    return {"records": [], "videos": videos}, tensors


def _singles(wanted: Iterable[str], trained: Trained) -> list[str]:
    return list(dict.fromkeys(part for encoder in wanted for part in parts_of(encoder, trained.resolved)))
