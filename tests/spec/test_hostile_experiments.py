"""A hundred hostile experiments: each is refused with its place, briefly, and nothing is made, imported or run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cprspec.errors import MAX_ECHO, CprspecError, clean
from cprspec.spec.registry import Registry
from cprspec.spec.resolve import resolve

SYNTAX = [
    "a = ", "= 1", "[", "[[a]", "[a]]", "a = 'x", 'a = "x', "a = '''x", "a = [1,,2]", "a = {b = 1", "a = {b = 1,, c = 2}",
    "a = 1 b = 2", "a = tru", "a = 01", "a = 1__0", "a = 0xg", "a = 1e", "a = 1979-99-99", 'a = "\\q"', 'a = "\\ud800"',
    "a.b = 1\na = 2", "a = 1\na = 2", "[a]\n[a]", "[a]\nb = 1\n[a.b]", "a = {b = 1}\n[a]", "a = [1]\n[[a]]", "\x00",
    "a\x00 = 1", "a = \x01", "\x1b[2J = 1",
]  # fmt: skip
DEPTH = ["a = " + "[" * n + "]" * n for n in (500, 5_000, 100_000)] + [
    "a = " + "{b = " * 5_000 + "1" + "}" * 5_000,
    "[" + ".".join("a" * 20_000) + "]",
    ".".join("a" * 20_000) + " = 1",
]
BYTES = [
    b"\xff\xfe" + "a = 1".encode("utf-16-le"), b"\xef\xbb\xbfa = 1\xff", b"a = '\xc3'", b"a = '\xed\xa0\x80'", b"\x80\x04N.",
    b"PK\x03\x04" + b"\0" * 40, b"\x89PNG\r\n\x1a\n", b"\0" * 4096, b"# " + b"x" * (1 << 20), b"a" * (1 << 20) + b" = 1",
    b"".join(b"k%d = 1\n" % n for n in range(100_000)), b"a = 1\n" * 200_000,
]  # fmt: skip
NAMES = [
    "../../etc", "/etc/passwd", "..", ".", "", "-rf", "a/b", "a\\\\b", "a\\u0000b", "a b", "~", "$HOME", "a" * 400, "a\\n",
    "\\u202ea", "\\u001b[2J", "caf\\u00e9", ".hidden",
]  # fmt: skip
CODE = [
    ("_target_", '"os.system"'), ("$import", '"hostile_module"'), ("__class__", '"x"'), ("use", '"os.system"'),
    ("use", '"hostile_module:run"'), ("use", '"hostile_module"'), ("use", '"../../hostile_module"'),
    ("use", '"cprspec.cli.main"'), ("use", '"https://example.org/x.py"'), ("use", '"!python/object"'), ("eval", '"1+1"'),
]  # fmt: skip
VALUES = [
    "true",
    "1",
    "-1",
    "nan",
    "inf",
    '""',
    "[]",
    "{}",
    "[{}]",
    "1979-05-27",
    "99999999999999999999999",
    '["a", 1, {}]',
]
WRONG = {"batch_size": VALUES[3:], "name": VALUES[:2], "phase": VALUES[:6], "miner": VALUES[:3], "format": VALUES[2:4]}


def hostile(good: str) -> dict[str, bytes]:
    """The files by what is hostile about them."""
    found = {f"syntax {n}": text.encode("utf-8", "surrogatepass") for n, text in enumerate(SYNTAX)}
    found |= {f"depth {n}": text.encode() for n, text in enumerate(DEPTH)}
    found |= {f"bytes {n}": raw for n, raw in enumerate(BYTES)}
    found |= {f"run called {n}": f'name = "{n}"\n{good}'.encode() for n in NAMES}
    found |= {f"phase called {n}": f'{good}[phase."{n}"]\nviews = ["rgb"]\nepochs = 1\n'.encode() for n in NAMES}
    found |= {f"code {k} {v}": f"{good}[backbone]\n{k} = {v}\n".encode() for k, v in CODE}
    for key, values in WRONG.items():
        kept = "\n".join(line for line in good.splitlines() if not line.startswith(key))
        for value in values:
            found[f"{key} = {value}"] = f"{key} = {value}\n{kept}".encode()
    return found


def test_there_are_a_hundred(good: str) -> None:
    assert len(hostile(good)) >= 100


def test_each_is_refused_and_does_nothing(good: str, registry: Registry, tmp_path: Path) -> None:
    # A spec that could name a module would import this one.
    (tmp_path / "hostile_module.py").write_text("from pathlib import Path\nPath('marker').touch()\n")
    sys.path.insert(0, str(tmp_path))
    try:
        for what, raw in hostile(good).items():
            Path("x.toml").write_bytes(raw)
            with pytest.raises(CprspecError) as caught:
                resolve(Path("x.toml"), registry)
            assert caught.value.exit_code == 2, what
            for problem in caught.value.problems:
                shown = clean(str(problem))
                assert problem.place is not None, (what, shown)
                assert problem.place.file.endswith("x.toml"), (what, shown)
                assert shown.isprintable(), what
                assert len(shown) < 5 * MAX_ECHO, (what, len(shown))
    finally:
        sys.path.remove(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hostile_module.py", "x.toml"]
    assert "hostile_module" not in sys.modules


@pytest.mark.parametrize("name", NAMES)
def test_no_override_makes_a_name_a_path(good: str, registry: Registry, read: Callable[..., object], name: str) -> None:
    Path("x.toml").write_text(good)
    with pytest.raises(CprspecError):
        resolve(Path("x.toml"), registry, overrides=[f'name = "{name}"'])
