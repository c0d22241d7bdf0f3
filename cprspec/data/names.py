"""What file names say: which files are videos, and which source one was cut from."""

from __future__ import annotations

import re
from functools import lru_cache

from cprspec.errors import CprspecError, Problem

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
"""Endings of the files that a folder data set takes for videos."""


def source_of(name: str, pattern: str | None) -> str:
    """The source that `pattern`'s group reads from a video's `name`; without a match the video is its own source."""
    if pattern is None:
        return name
    expression = _compiled(pattern, "source_pattern")
    if expression.groups != 1:
        hint = "write (?:...) for what only groups"
        raise CprspecError(
            Problem(f"source_pattern '{pattern}' has {expression.groups} groups, and needs one", hint=hint)
        )
    found = expression.search(name)
    return name if found is None or found.group(1) is None else found.group(1)


def matches(name: str, pattern: str | None) -> bool:
    """Whether `pattern`, the data set's test_pattern, occurs in a video's `name`; no pattern never does."""
    return pattern is not None and _compiled(pattern, "test_pattern").search(name) is not None


@lru_cache(maxsize=16)
def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise CprspecError(Problem(f"{option} '{pattern}' is not a regular expression: {error}")) from error
