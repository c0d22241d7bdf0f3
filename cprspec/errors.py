"""What went wrong, where, and what to do: the one form of every message to a user, and the one place that prints it.

Code that finds something wrong collects `Problem`s and raises one `CprspecError` with all of them. Nothing but
`print_problems` writes them, so text from files is cleaned once, at this boundary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from attrs import frozen

MAX_ECHO = 200
"""Longest piece of a user's file that a message repeats, in characters."""


@frozen
class Place:
    """A position in a file: `file:line:column`, counted from 1; line and column may be unknown."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


@frozen
class Problem:
    """One thing that is wrong: where, what was found and expected, and a hint. `warning` does not stop a command."""

    message: str
    place: Place | None = None
    hint: str | None = None
    warning: bool = False

    def __str__(self) -> str:
        text = f"{self.place}: " if self.place else ""
        text += "warning: " if self.warning else ""
        text += self.message
        return f"{text}; {self.hint}" if self.hint else text


class CprspecError(Exception):
    """Every expected failure. `exit_code` is 2 for a wrong input and 1 for a failure while running."""

    def __init__(self, problems: Problem | str | Sequence[Problem], exit_code: int = 2) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.exit_code = exit_code
        super().__init__("\n".join(str(p) for p in self.problems))


def clean(text: str, limit: int | None = None) -> str:
    """`text` from a file or a user made safe for a terminal: control characters escaped, one line, at most `limit` long.

    Escapes C0, C1, DEL, line separators, bidirectional overrides and lone surrogates; every other character stays.
    """
    safe = "".join(c if _harmless(c) else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
    return safe if limit is None or len(safe) <= limit else safe[: limit - 1] + "…"


def _harmless(c: str) -> bool:
    n = ord(c)
    if n < 0x20 or 0x7F <= n <= 0x9F or 0xD800 <= n <= 0xDFFF:
        return False
    return not (0x200E <= n <= 0x200F or 0x2028 <= n <= 0x202E or 0x2066 <= n <= 0x2069)


def print_problems(problems: Iterable[Problem], stream: TextIO | None = None) -> None:
    """Write one line for each problem to `stream` (standard error)."""
    out = stream or sys.stderr
    for problem in problems:
        print(clean(str(problem)), file=out)
