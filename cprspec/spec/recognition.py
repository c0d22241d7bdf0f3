"""What evaluations that train something say about themselves and about the phases they look at, checked before anything runs.

Evaluators belong to components, which this package does not know, so options are
looked for by name; one that it does not have is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from cprspec.errors import Place, Problem
from cprspec.spec.compose import Composed
from cprspec.spec.encoders import phases_of
from cprspec.spec.kinds import Evaluator
from cprspec.spec.schema import RANDOM, Phase
from cprspec.spec.words import quoted


def check_recognition(
    composed: Composed, evaluate: Mapping[str, Evaluator], phases: Mapping[str, Phase]
) -> list[Problem]:
    """Every check of evaluations that train; `evaluate` and `phases` have what could be read."""
    checks = (_milestones, _validation, _crops, _clips)
    wanted = [_Wanted(composed, name, evaluator, phases) for name, evaluator in evaluate.items()]
    return [problem for each in wanted if each.evaluator.trains for c in checks for problem in c(each)]


@frozen
class _Wanted:
    """One evaluation and what it stands among."""

    composed: Composed
    name: str
    evaluator: Evaluator
    phases: Mapping[str, Phase]

    def at(self, key: str) -> Place:
        """Where an option was written, or else the evaluation."""
        path = ("evaluate", self.name, key)
        return self.composed.places.get(path) or self.composed.place("evaluate", self.name)

    @property
    def looked_at(self) -> list[Phase]:
        """The phases whose encoders it names, all of them where it names none or the untrained network."""
        names = frozenset().union(*(phases_of(encoder) for encoder in self.evaluator.encoders))
        every = not names or RANDOM in names
        return [phase for name, phase in self.phases.items() if every or name in names]


def _milestones(e: _Wanted) -> Iterator[Problem]:
    """A learning rate that would fall after the end never falls."""
    epochs: int = e.evaluator.epochs  # type: ignore[attr-defined]
    late = [m for m in getattr(e.evaluator, "milestones", ()) if m >= epochs]
    if late and not getattr(e.evaluator, "patience", 0):
        message = f"milestone {late[0]} is never reached in the {epochs} epochs of evaluation {quoted(e.name)}"
        yield Problem(message, e.at("milestones"), warning=True)


def _validation(e: _Wanted) -> Iterator[Problem]:
    """A plateau is seen on videos that are held out."""
    if getattr(e.evaluator, "patience", 0) and not getattr(e.evaluator, "validation", 0):
        hint = "say how many training videos are held out with validation = ..."
        yield Problem(f"evaluation {quoted(e.name)} has patience and no validation", e.at("patience"), hint)


def _crops(e: _Wanted) -> Iterator[Problem]:
    """IIC's clips have one crop; and mirrored crops show another class where classes mirror each other."""
    crops, flip = getattr(e.evaluator, "crops", None), getattr(e.evaluator, "flip", None)
    if getattr(e.evaluator, "windows", None) == "ten" and crops != "centre":
        message = f"windows 'ten' are tested by their centre, and evaluation {quoted(e.name)} has crops {quoted(crops)}"
        yield Problem(message, e.at("crops"), "crops = 'centre', or windows = 'all'")
    never = [p for p in e.looked_at if (getattr(p.augment, "flip", None) if flip is None else flip) == 0]
    if crops == "ten" and never:
        message = f"crops 'ten' of evaluation {quoted(e.name)} are mirrored ones too, and training clips never are"
        yield Problem(message, e.at("crops"), "crops = 'five' where classes mirror each other", warning=True)


def _clips(e: _Wanted) -> Iterator[Problem]:
    """A clip of the evaluation's own size is as long and as large as the network can take."""
    for phase in e.looked_at:
        for key, least, unit in zip(("frames", "size"), phase.backbone.smallest, ("frames", "pixels"), strict=True):
            value = getattr(e.evaluator, key, None)
            if value is not None and value < least:
                message = f"backbone {quoted(phase.backbone.name)} takes clips of {least} {unit} or more, found {value}"
                yield Problem(message, e.at(key))
                return
