"""Where each key of a TOML text stands: key path -> line and column.

TOML parsers give positions for syntax errors only, and an experiment's errors come after parsing. This walker goes over
the text once, before the parser does. It is more lenient than the parser, so it stops only where the parser would
refuse too; and it refuses nesting that would make a parser slow or deep.

A path is a tuple of keys, and of indices inside arrays; a key stands where its own part of a dotted key or header
begins, an array's element where its value begins. Lines and columns count from 1.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress

import tomli

from cprspec.errors import CprspecError, Place, Problem

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 24
"""Deepest nesting of tables and arrays; an experiment needs five."""

MAX_ITEMS = 20_000
"""Most keys and array elements in one file; an experiment has a hundred."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class _StopHere(Exception):  # noqa: N818 - not an error: the parser will say what is wrong
    """The text is not TOML from here on."""


def find_positions(text: str, file: str) -> dict[KeyPath, Place]:
    """The place of every key path of `text`. Text that is not TOML gives the places before the fault.

    Raises CprspecError where tables, arrays or dotted keys nest deeper than MAX_DEPTH, or after MAX_ITEMS.
    """
    walker = _Walker(text, file)
    with suppress(_StopHere):  # what is wrong there is the parser's to say, in its own words
        walker.document()
    return walker.places


class _Walker:
    """One pass over a text. `at` is the offset of the next character; every method leaves it behind what it read."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.places: dict[KeyPath, Place] = {}
        self.line_starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.array_lengths: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Headers and key-value pairs up to the end of the text."""
        table: KeyPath = ()
        while self.skip(_BLANK):
            if self.text.startswith("[[", self.at):
                table = self.header(2)
            elif self.text[self.at] == "[":
                table = self.header(1)
            else:
                self.pair(table)

    def header(self, brackets: int) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; gives the path of the table that it opens."""
        self.at += brackets
        keys = self.key()
        self.expect("]" * brackets)
        path: KeyPath = ()
        for i, (name, start) in enumerate(keys):
            path = (*path, name)
            self.note(path, start)
            opens_element = brackets == 2 and i == len(keys) - 1
            if opens_element:
                self.array_lengths[path] = self.array_lengths.get(path, 0) + 1
            if path in self.array_lengths:  # a header inside an array of tables means its last element
                path = (*path, self.array_lengths[path] - 1)
                self.note(path, start)
        return path

    def pair(self, table: KeyPath) -> None:
        """`key = value` in `table`."""
        path = table
        for name, start in self.key():
            path = (*path, name)
            self.note(path, start)
        self.expect("=")
        self.skip(_SPACE)
        self.value(path)

    def key(self) -> list[tuple[str, int]]:
        """A dotted key: each part with the offset at which it begins."""
        parts: list[tuple[str, int]] = []
        while True:
            self.skip(_SPACE)
            start = self.at
            found = _BARE.match(self.text, start) or _STRING.match(self.text, start)
            if not found:
                raise _StopHere
            self.at = found.end()
            parts.append((self.decode(found.group()), start))
            if len(parts) > MAX_DEPTH:
                raise self.too_deep(start)
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def decode(self, part: str) -> str:
        """The name that one part of a key spells."""
        if part[0] not in "\"'":
            return part
        try:
            return str(tomli.loads(f"k = {part}")["k"])
        except ValueError:
            raise _StopHere from None

    def value(self, path: KeyPath) -> None:
        """Any value; elements of arrays and keys of inline tables are noted under `path`."""
        if len(path) > MAX_DEPTH:
            raise self.too_deep(self.at)
        first = self.text[self.at : self.at + 1]
        if first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            pattern = _STRING if first in ("'", '"') else _SCALAR
            found = pattern.match(self.text, self.at)
            if not found:
                raise _StopHere
            self.at = found.end()

    def array(self, path: KeyPath) -> None:
        """`[value, value, ...]`."""
        self.at += 1
        index = 0
        while not self.closes("]"):
            self.note((*path, index), self.at)
            self.value((*path, index))
            index += 1
            self.comma_unless("]")

    def inline_table(self, path: KeyPath) -> None:
        """`{ key = value, ... }`."""
        self.at += 1
        while not self.closes("}"):
            self.pair(path)
            self.comma_unless("}")

    def closes(self, bracket: str) -> bool:
        """Whether `bracket` comes next; if so, step over it."""
        if not self.skip(_BLANK):
            raise _StopHere
        if self.text[self.at] != bracket:
            return False
        self.at += 1
        return True

    def comma_unless(self, bracket: str) -> None:
        """Step over a comma; only the closing `bracket` may stand in its place."""
        self.skip(_BLANK)
        if self.text.startswith(",", self.at):
            self.at += 1
        elif not self.text.startswith(bracket, self.at):
            raise _StopHere

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Step over `pattern`; whether any text is left."""
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at < len(self.text)

    def expect(self, piece: str) -> None:
        """Step over `piece`, which must come next."""
        if not self.text.startswith(piece, self.at):
            raise _StopHere
        self.at += len(piece)

    def note(self, path: KeyPath, offset: int) -> None:
        """Remember where `path` stands; the first mention counts."""
        if path not in self.places:
            self.places[path] = self.place(offset)
            if len(self.places) > MAX_ITEMS:
                raise CprspecError(Problem(f"more than {MAX_ITEMS} keys and values", self.place(offset)))

    def place(self, offset: int) -> Place:
        """The line and column of an offset."""
        line = bisect_right(self.line_starts, offset)
        return Place(self.file, line, offset - self.line_starts[line - 1] + 1)

    def too_deep(self, offset: int) -> CprspecError:
        """The error for nesting beyond MAX_DEPTH."""
        return CprspecError(Problem(f"tables and arrays nest deeper than {MAX_DEPTH} levels", self.place(offset)))
