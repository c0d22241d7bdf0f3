"""The answers of a search as one page that stands alone: queries and what is near them, with a few frames of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from cprspec.components.views import Rgb
from cprspec.errors import CprspecError
from cprspec.runs.report.page import picture, render
from cprspec.video.strips import strip
from cprspec.weights.embed import LoadedEncoder
from cprspec.weights.search import Answers

PAGE_BYTES = 24 << 20
"""Pictures on one page, bytes before base64; videos beyond are named only."""


@frozen
class Shown:
    """A video on the page; `right`: it has the query's class, None where that is not known."""

    name: str
    label: str | None
    picture: str | None
    score: float | None = None
    right: bool | None = None


@frozen
class ShownAnswer:
    """A query and what was found for it."""

    query: Shown
    found: tuple[Shown, ...]


def page(answers: Answers, encoder: LoadedEncoder) -> str:
    """The page as HTML. Frames come from the store, or are decoded; of a video that is gone there are none."""
    look = _pictures(encoder)
    shown = []
    for answer in answers.answers:
        found = tuple(
            Shown(
                f.name,
                f.label,
                look(f.path),
                f.score,
                f.label == answer.label if f.label and answer.label else None,
            )
            for f in answer.found
        )
        shown.append(ShownAnswer(Shown(answer.name, answer.label, look(answer.path)), found))
    return render("search.html", answers=shown, maker=answers.encoder, videos=answers.videos, right=answers.right)


def _pictures(encoder: LoadedEncoder) -> Callable[[Path], str | None]:
    """The address of a video's strip within the page, made once for each video, while there is room."""
    made: dict[Path, str | None] = {}
    size = 0

    def look(path: Path) -> str | None:
        nonlocal size
        if path not in made:
            content = _strip(path, encoder) if size < PAGE_BYTES else None
            size += len(content or b"")
            made[path] = picture(content, "jpeg") if content else None
        return made[path]

    return look


def _strip(path: Path, encoder: LoadedEncoder) -> bytes | None:
    clip = encoder.card.clip
    try:
        return strip(encoder.store.pictures(path, clip.stored_side), clip, Rgb())
    except CprspecError:
        return None  # gone or damaged since it was embedded: its name and score still help
