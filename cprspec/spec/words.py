"""The few turns of phrase that messages about experiments share: what was found, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from cprspec.errors import MAX_ECHO, clean

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "whole number"),
    (float, "number"),
    (str, "text"),
    (dict, "table"),
    (list, "array"),
)


def quoted(value: object) -> str:
    """A name or text from a file as messages show it, in quotes; numbers bare."""
    try:
        text = clean(str(value), MAX_ECHO)
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return "a very long number"
    return f"'{text}'" if isinstance(value, str) else text


def listed(names: Iterable[object]) -> str:
    """`'a', 'b', 'c'`, cut short when there are many."""
    every = [quoted(n) for n in names]
    return ", ".join(every) if len(every) <= 12 else ", ".join(every[:12]) + f" and {len(every) - 12} more"


def found(value: Any) -> str:
    """A value as found in a file: `'seven' (text)`, `7 (whole number)`, `a table`."""
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "an array"
    kind = next((word for t, word in _KINDS if isinstance(value, t)), "date or time")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{quoted(value)} ({kind})"


def closest(wrong: str, known: Iterable[str]) -> str | None:
    """The known word most like `wrong`, if any is like it."""
    candidates = list(known)
    by_folded = {c.lower().replace("-", "_"): c for c in candidates}
    folded = wrong.lower().replace("-", "_")[:MAX_ECHO]
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.55)
    return by_folded[near[0]] if near else None


def did_you_mean(wrong: str, known: Iterable[str], otherwise: str = "choose from") -> str:
    """The hint for an unknown word: the nearest one, or all of them."""
    candidates = list(known)
    near = closest(wrong, candidates)
    if near is not None:
        return f"did you mean {quoted(near)}?"
    return f"{otherwise} {listed(candidates)}" if candidates else "there are none"
