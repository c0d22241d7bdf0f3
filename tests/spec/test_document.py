"""Files that should not be read, and how that is said."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cprspec.errors import CprspecError
from cprspec.spec.document import MAX_BYTES, parse_document, read_document


def _message(path: str | Path) -> str:
    began = time.monotonic()
    with pytest.raises(CprspecError) as caught:
        read_document(Path(path))
    assert time.monotonic() - began < 2
    return str(caught.value)


def test_missing() -> None:
    assert _message("no.toml") == "no.toml: cannot be read: no such file or directory"


def test_folder() -> None:
    Path("d.toml").mkdir()
    assert _message("d.toml") == "d.toml: not a regular file; expected a TOML file"


def test_named_pipe_does_not_hang() -> None:
    os.mkfifo("p.toml")
    assert _message("p.toml") == "p.toml: not a regular file; expected a TOML file"


def test_device() -> None:
    assert "not a regular file" in _message("/dev/zero")


def test_too_large() -> None:
    Path("x.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    assert "larger than 1048576 bytes" in _message("x.toml")


def test_largest() -> None:
    Path("x.toml").write_bytes(b"a = 1\n" + b"#" * (MAX_BYTES - 6))
    assert read_document(Path("x.toml")).data == {"a": 1}


def test_not_utf8() -> None:
    Path("x.toml").write_bytes('a = 1\nb = "é'.encode() + b'\xff"')
    assert _message("x.toml") == "x.toml:2:7: not UTF-8 text: byte 0xff"


def test_syntax() -> None:
    Path("x.toml").write_text("a = 1\nb = = 2\n")
    assert _message("x.toml") == "x.toml:2:5: not valid TOML: invalid value"


def test_name_with_nul() -> None:
    assert "cannot be read" in _message("a\0b")


@pytest.mark.parametrize(
    "text", ["a = " + "9" * 5000, "a = 0x" + "f" * 90_000, "\ufeffa = 1", "a = 1\0", "a = 1e999999"]
)
def test_odd_texts_give_a_value_or_one_error(text: str) -> None:
    try:
        parse_document(text, "x.toml")
    except CprspecError as error:
        assert len(str(error)) < 300
