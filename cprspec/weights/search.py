"""The nearest videos of a collection: cosines of features, both centred by the collection's mean (PROTOCOL 0.4).

Shapes: Q queries, V videos of the collection, F size of the feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from torch import Tensor

from cprspec.errors import CprspecError, Place, Problem
from cprspec.evaluation.neighbours import nearest
from cprspec.evaluation.retrieval import unit
from cprspec.weights.card import Maker
from cprspec.weights.embeddings import Embeddings

SCHEMA = 1


@frozen
class Found:
    """A video of the collection and how near it is: 1 the same, 0 no more alike than any two, -1 the opposite."""

    rank: int
    score: float
    label: str | None
    path: Path
    name: str


@frozen
class Answer:
    """A query and the nearest videos, nearest first; names are what videos are called (weights/embeddings.py)."""

    path: Path
    name: str
    label: str | None
    found: tuple[Found, ...]


@frozen
class Answers:
    """The answers to all queries, in their order, and who made the features."""

    encoder: Maker
    videos: int
    answers: tuple[Answer, ...]

    @property
    def right(self) -> tuple[int, int]:
        """For how many queries the nearest video has their class, and of how many both classes are known."""
        known = [a.found[0].label == a.label for a in self.answers if a.label and a.found and a.found[0].label]
        return sum(known), len(known)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; see docs/search.md."""
        right, known = self.right
        return {
            "schema": SCHEMA,
            "kind": "search",
            "encoder": asdict(self.encoder),
            "videos": self.videos,
            "nearest_right": right,
            "nearest_known": known,
            "queries": [
                {
                    "path": str(answer.path),
                    "name": answer.name,
                    "label": answer.label,
                    "found": [{**asdict(found), "path": str(found.path)} for found in answer.found],
                }
                for answer in self.answers
            ],
        }


def check_maker(encoder: Maker, collection: Embeddings, where: Path) -> None:
    """CprspecError where another encoder than `encoder` made the features of `collection`, which lies `where`."""
    if encoder.digest != collection.maker.digest:
        other, own = (f"{m.name}, phase {m.phase} ({m.digest[:8]})" for m in (collection.maker, encoder))
        message = f"made by another encoder: {other}, not {own}"
        raise CprspecError(Problem(message, Place(str(where)), "embed the videos again with this one"))


def search(queries: Embeddings, collection: Embeddings, top: int, where: Path) -> Answers:
    """The `top` nearest videos of `collection` (which lies `where`) for each query; a query is not its own answer."""
    check_maker(queries.maker, collection, where)
    if not len(collection.features_VF):
        raise CprspecError(Problem("holds no videos", Place(str(where))))
    own_place = {path.absolute(): v for v, path in enumerate(collection.paths)}
    mean_F = collection.features_VF.mean(0)
    # One more than asked for: a query that is in the collection finds itself.
    near = nearest(unit(queries.features_VF - mean_F), unit(collection.features_VF - mean_F), top + 1)
    answers = []
    found = zip(queries.paths, queries.names, queries.labels, near.row_Qk, near.score_Qk, strict=True)
    for path, name, label, row_k, score_k in found:
        answers.append(
            Answer(path, name, label, _answers(row_k, score_k, own_place.get(path.absolute()), collection, top))
        )
    return Answers(queries.maker, len(collection.paths), tuple(answers))


def _answers(row_k: Tensor, score_k: Tensor, own: int | None, collection: Embeddings, top: int) -> tuple[Found, ...]:
    others = [(v, score) for v, score in zip(row_k.tolist(), score_k.clamp(-1, 1).tolist(), strict=True) if v != own]
    return tuple(
        Found(rank, score, collection.labels[v], collection.paths[v], collection.names[v])
        for rank, (v, score) in enumerate(others[:top], start=1)
    )


def in_words(answers: Answers) -> list[str]:
    """Lines for a terminal: each query, and its answers as rank, score, class and name."""
    lines = []
    for answer in answers.answers:
        lines.append(f"{answer.name}{f' ({answer.label})' if answer.label else ''}")
        width = max((len(f.label or "-") for f in answer.found), default=0)
        lines += [f"{f.rank:4d}  {f.score:+.3f}  {f.label or '-':{width}}  {f.name}" for f in answer.found]
    return lines
