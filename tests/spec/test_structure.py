"""Strict structuring: what is accepted, what is not, and how misspelt words are guessed."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest
from attrs import frozen

from cprspec.errors import Place
from cprspec.spec.compose import RawText
from cprspec.spec.kinds import fields_of, option
from cprspec.spec.registry import KIND_NAMES, Registry
from cprspec.spec.structure import structure
from cprspec.spec.tables import OF_A_PHASE, TABLES, PhaseTable, TopLevel
from cprspec.spec.words import closest, did_you_mean, found


@frozen(kw_only=True)
class _Options:
    """One option of every type that components use."""

    whole: int = option(1, help="", ge=0, lt=10)
    number: float = option(1.0, help="", gt=0, le=2)
    flag: bool = option(False, help="")
    text: str = option("a", help="", choices=("a", "bb"))
    free: str | None = option(None, help="")
    maybe: int | None = option(None, help="", ge=5)
    wholes: tuple[int, ...] = option((), help="", ge=1)
    texts: tuple[str, ...] = option((), help="")


def _where(path: tuple[str | int, ...]) -> Place:
    return Place(".".join(map(str, path)))


def _problems(**table: object) -> list[str]:
    return [str(p) for p in structure(_Options, table, "it", _where)[1]]


def test_right_values() -> None:
    value, problems = structure(
        _Options,
        {
            "whole": 3,
            "number": 2,
            "flag": True,
            "text": "bb",
            "free": "x",
            "maybe": 5,
            "wholes": [1, 2],
            "texts": ["t"],
        },
        "it",
        _where,
    )
    assert problems == []
    assert value == _Options(whole=3, number=2.0, flag=True, text="bb", free="x", maybe=5, wholes=(1, 2), texts=("t",))
    assert isinstance(value.number, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", True), ("whole", 1.0), ("whole", "1"), ("whole", -1), ("whole", 10), ("whole", [1]), ("whole", 2**70),
        ("number", True), ("number", "1"), ("number", 0), ("number", 2.1), ("number", float("nan")), ("number", 10**400),
        ("number", float("inf")), ("flag", 1), ("flag", "false"), ("flag", {}), ("text", "b"), ("text", 1), ("free", 1),
        ("free", ["x"]), ("maybe", 4), ("maybe", "5"), ("wholes", 1), ("wholes", [0]), ("wholes", [1.0]), ("wholes", "12"),
        ("texts", "ab"), ("texts", [1]), ("texts", [["a"]]), ("whole", RawText("abc")), ("flag", RawText("yes")),
    ],
)  # fmt: skip
def test_wrong_values(name: str, value: object) -> None:
    (problem,) = _problems(**{name: value})
    assert problem.startswith(name)
    assert f"option '{name}' of it must be" in problem


def test_text_from_the_command_line_is_text() -> None:
    value, _ = structure(_Options, {"text": RawText("bb")}, "it", _where)
    assert value is not None
    assert type(value.text) is str


def test_all_problems_of_a_table_at_once() -> None:
    lines = _problems(whole=-1, nubmer=1, wholes=[1, 2.5, "a"], flag=0)
    assert len(lines) == 5
    assert "wholes.1: item 2 of option 'wholes' of it must be a whole number, found 2.5 (number)" in lines
    assert "wholes.2: item 3 of option 'wholes' of it must be a whole number, found 'a' (text)" in lines
    assert "nubmer: unknown option 'nubmer' for it; did you mean 'number'?" in lines


def test_found_words() -> None:
    assert found(10**5000) == "a very long number (whole number)"
    assert found("x\x1b") == "'x\\x1b' (text)"
    assert len(found("x" * 5000)) < 250


def test_hint_without_a_near_word() -> None:
    assert did_you_mean("zzzz", ["a", "b"]) == "choose from 'a', 'b'"
    assert did_you_mean("zzzz", []) == "there are none"
    assert did_you_mean("a" * 10_000, ["a"]) == "choose from 'a'"


def _vocabularies(registry: Registry) -> Iterator[list[str]]:
    for kind in KIND_NAMES:
        yield registry.names(kind)
        for name in registry.names(kind):
            card = registry.find(kind, name)
            assert card
            yield [*(f.name for f in fields_of(card.component)), "use"]
    yield [*(f.name for f in fields_of(TopLevel)), *TABLES, "published", "extends"]
    yield [*(f.name for f in fields_of(PhaseTable)), *OF_A_PHASE, "start_from"]


def _typos(word: str) -> set[str]:
    """Every text one insertion, deletion, change or swap of neighbours away."""
    result = set()
    for i in range(len(word) + 1):
        head, tail = word[:i], word[i:]
        result |= {head + c + tail for c in string.ascii_lowercase}
        result |= {head + c + tail[1:] for c in string.ascii_lowercase if tail} | {head + tail[1:]}
        result.add(head + tail[1:2] + tail[:1] + tail[2:])
    return result - {word, ""}


def test_single_typos_find_the_right_word(registry: Registry) -> None:
    right = total = 0
    for words in _vocabularies(registry):
        for word in words:
            for typo in sorted(_typos(word) - set(words))[::7]:
                total += 1
                right += closest(typo, words) == word
    assert total > 5000
    assert right / total > 0.97
