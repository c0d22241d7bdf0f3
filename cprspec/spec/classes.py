"""Classes of two data sets that mean the same, for queries of one in a gallery of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.words import did_you_mean, quoted

NOT_SHARED = -1


def matched_classes(
    queries: Sequence[str], gallery: Sequence[str], renamed: Mapping[str, str], place: Place | None = None
) -> list[int]:
    """For each class of the queries the number of the gallery's class of that name, `NOT_SHARED` where there is none.

    `renamed` says what the gallery calls a class of the queries. CprspecError where it names a class that is none, or
    where nothing is shared; `place` is where the evaluation was written.
    """
    number = {name: i for i, name in enumerate(gallery)}
    problems = []
    for own, theirs in renamed.items():
        for name, known, whose in ((own, queries, "queries"), (theirs, gallery, "gallery")):
            if name not in known:
                hint = did_you_mean(name, known)
                problems.append(
                    Problem(f"'classes' names {quoted(name)}, which is no class of the {whose}", place, hint)
                )
    matched = [number.get(renamed.get(name, name), NOT_SHARED) for name in queries]
    if not problems and all(i == NOT_SHARED for i in matched):
        hint = "say with classes = { NAME = 'NAME IN THE GALLERY' } which classes are the same"
        problems.append(Problem("queries and gallery share no class", place, hint))
    if problems:
        raise CprspecError(problems)
    return matched
