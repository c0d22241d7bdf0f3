"""Running the evaluators of an experiment: features once for each data set and split, then what they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen

from cprspec.components.evaluators import Classifier, Embeddings, Linear, Retrieval
from cprspec.errors import CprspecError
from cprspec.evaluation.encoders import Trained, features_of, parts_of
from cprspec.evaluation.kept import Kept
from cprspec.evaluation.nearest import retrieve
from cprspec.evaluation.recognise import recognise
from cprspec.spec.encoders import default_encoders
from cprspec.spec.kinds import Evaluator


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
            return Result({**about, **retrieve(options, trained, work)})
        case Embeddings():
            facts, tensors = embed(options, trained, work)
            return Result({**about, **facts}, tensors)
        case Linear() | Classifier():
            facts, tensors = recognise(name, options, trained, work)
            return Result({**about, **facts}, tensors)
    raise CprspecError(f"evaluation '{name}': '{options.name}' cannot be run by this version")


def embed(options: Embeddings, trained: Trained, work: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The names of the videos, and their features as tensors `DATASET/ENCODER` `[V,F]`, rows as the names."""
    videos: dict[str, list[str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    wanted = options.encoders or default_encoders(trained.resolved)
    singles = list(dict.fromkeys(part for encoder in wanted for part in parts_of(encoder, trained.resolved)))
    kept = Kept(work, trained.ranks, trained.report)
    for dataset in options.datasets or (trained.resolved.train_on,):
        index = trained.indices[dataset]
        parts = [
            features_of(singles, trained, dataset, split, precision=options.precision, kept=kept)
            for split in index.splits
        ]
        videos[dataset] = [index.videos[v].name for ids, _ in parts for v in ids.tolist()]
        tensors |= {f"{dataset}/{name}": torch.cat([features[name] for _, features in parts]) for name in singles}
    return {"records": [], "videos": videos}, tensors
