"""Places of keys in TOML texts, against places found by searching for a marker."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from cprspec.errors import CprspecError, Place
from cprspec.spec.positions import MAX_DEPTH, MAX_ITEMS, find_positions

# «path» stands before each key or value whose place is tested; it is taken out before parsing
MARKED = {
    "plain": '«a»a = 1\n  «b»b = "x"\n',
    "tables": "[«t»t]\n«t.a»a = 1\n[t.«t.u»u]\n«t.u.b»b = 2\n",
    "dotted keys": "«a»a.«a.b»b.«a.b.c»c = 1\na . «a.d»d = 2\n",
    "quoted keys": '«a b»"a b".«a b.c»\'c\' = 1\n[«x.y»"x.y"]\n«x.y.«q»q = 0\n'.replace("«x.y.«q»q", "q"),
    "escaped keys": '«é»"\\u00e9" = 1\n',
    "arrays": "«a»a = [«a.0»1, «a.1»[«a.1.0»2,\n  # comment ]\n  «a.1.1»3], «a.2»4,]\n«b»b = 1\n",
    "inline tables": "«a»a = { «a.b»b = 1, «a.c»c.«a.c.d»d = [«a.c.d.0»{ «a.c.d.0.e»e = 2 }] }\n«f»f = 1\n",
    "arrays of tables": "[[«p»p]]\n«p.0.a»a = 1\n[p.«p.0.q»q]\n«p.0.q.b»b = 1\n[[p]]\n«p.1.a»a = 2\n",
    "nested arrays of tables": "[[«p»p]]\n[[p.«p.0.q»q]]\n«p.0.q.0.a»a = 1\n[[p.q]]\n«p.0.q.1.a»a = 1\n[[p]]\n[[p.«p.1.q»q]]\n",
    "multi-line strings": 'a = """\nb = 1\n[c]\n"""\n«b»b = \'\'\'\n"""x\n\'\'\'\n«c»c = """ends in quotes""""\n«d»d = 1\n',
    "strings with brackets": 'a = "]} # \\" x"\n«b»b = [\'#\', «b.1»\'\\\', «b.2»"["]\n',
    "comments": "# a = 1\n«a»a = 1 # b = 2\n#\n«b»b = 2",
    "dates": "a = 1979-05-27 07:32:00Z\n«b»b = [1979-05-27 07:32:00, «b.1»1]\n",
    "windows lines": "«a»a = 1\r\n[«t»t]\r\n«t.b»b = 1\r\n",
    "spaces in headers": "[ «t»t . «t.u»u ]\n«t.u.a»a = 1\n",
}


@pytest.mark.parametrize("title", MARKED)
def test_places(title: str) -> None:
    text, expected = _unmark(MARKED[title])
    data = tomli.loads(text)
    places = {_key(path): place for path, place in find_positions(text, "f").items()}
    assert expected
    for key, place in expected.items():
        assert places[key] == place, key
    assert {_key(p) for p in _paths(data, ())} <= set(places)


@given(
    st.recursive(
        st.integers() | st.text(max_size=5) | st.booleans(),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=4), s, max_size=3),
        max_leaves=12,
    )
)
def test_every_key_has_a_place(value: Any) -> None:
    import tomli_w

    text = tomli_w.dumps({"k": value, "last": 1})
    places = find_positions(text, "f")
    assert set(_paths(tomli.loads(text), ())) <= set(places)
    line, column = places["last",].line, places["last",].column
    assert text.split("\n")[line - 1][column - 1 :].startswith("last")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 9999, "a" + ".a" * 400_000 + " = 1", "[" + "a." * 400_000 + "a]", "a = " + "{b=" * 9999]
)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    with pytest.raises(CprspecError, match=f"deeper than {MAX_DEPTH}"):
        find_positions(text, "f")


def test_many_keys_are_refused() -> None:
    with pytest.raises(CprspecError, match="more than"):
        find_positions("a = [" + "1," * (MAX_ITEMS + 1) + "]", "f")


@given(st.text(alphabet=st.sampled_from("ab.=[]{}\"'#\n\\ ,1\r\t"), max_size=60))
def test_any_text_ends(text: str) -> None:
    places = find_positions(text, "f")
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    assert set(_paths(data, ())) <= set(places)


def _unmark(marked: str) -> tuple[str, dict[str, Place]]:
    """The text without markers, and the place that each marker stood at."""
    text, expected, end = "", {}, 0
    for found in re.finditer("«([^»]*)»", marked):
        text += marked[end : found.start()]
        end = found.end()
        line = text.count("\n") + 1
        expected[found.group(1)] = Place("f", line, len(text) - (text.rfind("\n") + 1) + 1)
    return text + marked[end:], expected


def _key(path: tuple[str | int, ...]) -> str:
    return ".".join(str(p) for p in path)


def _paths(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    own = [path] if path else []
    return own + [p for key, each in inside for p in _paths(each, (*path, key))]
