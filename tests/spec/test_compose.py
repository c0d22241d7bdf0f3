"""How files and `--set` are laid over each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cprspec.errors import CprspecError
from cprspec.spec.compose import Composed, RawText, compose


def _compose(*overrides: str, **files: str) -> Composed:
    for name, text in files.items():
        Path(f"{name}.toml").write_text(text)
    return compose(Path("x.toml"), overrides)


def _data(*overrides: str, **files: str) -> dict[str, Any]:
    return _compose(*overrides, **files).data


def test_tables_merge_and_arrays_replace() -> None:
    data = _data(x='extends = "p.toml"\n[t]\nb = 3\nc = [9]', p="[t]\na = 1\nb = 2\nc = [1, 2]\n[u]\nd = 4")
    assert data == {"t": {"a": 1, "b": 3, "c": [9]}, "u": {"d": 4}}


def test_places_say_which_file() -> None:
    c = _compose("t.d = 4", x='extends = "p.toml"\n[t]\nb = 3', p="[t]\na = 1\nb = 2")
    assert [str(c.place("t", k)) for k in "abd"] == ["p.toml:2:1", "x.toml:3:1", "--set"]
    assert str(c.place("t", "unwritten")) == "p.toml:1:2"
    assert str(c.place("unwritten")) == "x.toml"


def test_parent_beside_the_child_and_grandparent() -> None:
    Path("sub").mkdir()
    Path("sub/p.toml").write_text('extends = "../g.toml"\na = 2')
    assert _data(x='extends = "sub/p.toml"\nb = 3', g="a = 1\nc = 1") == {"a": 2, "b": 3, "c": 1}


def test_name_is_not_inherited() -> None:
    assert "name" not in _data(x='extends = "p.toml"', p='name = "p"')


def test_another_component_drops_the_parents_options() -> None:
    parent = '[miner]\nuse = "cpr"\nstages = 3\n[evaluate.nn]\nuse = "a"\nk = 1\n[phase.p]\nminer = { use = "cpr", topk = 2 }'
    child = 'extends = "p.toml"\n[miner]\nuse = "coclr"\n[evaluate.nn]\nuse = "b"\n[phase.p]\nminer.use = "coclr"'
    data = _data(x=child, p=parent)
    assert data["miner"] == {"use": "coclr"}
    assert data["evaluate"]["nn"] == {"use": "b"}
    assert data["phase"]["p"]["miner"] == {"use": "coclr"}


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ('[miner]\nuse = "cpr"\nstages = 3', '[miner]\nuse = "cpr"\ntopk = 2'),
        ("[backbone]\nwidth = 0.5", '[backbone]\nuse = "s3d"'),  # s3d is the default
        ("[view.flow]\nbound = 9", '[view.flow]\nuse = "flow"'),  # a view's default is its own name
    ],
)
def test_the_same_component_keeps_them(parent: str, child: str) -> None:
    data = _data(x=f'extends = "p.toml"\n{child}', p=parent)
    options = data.get("miner") or data.get("backbone") or data["view"]["flow"]
    assert len(options) >= 2


def test_another_component_than_the_implied_one() -> None:
    assert _data(x='extends = "p.toml"\n[backbone]\nuse = "tiny"', p="[backbone]\ngating = true")["backbone"] == {
        "use": "tiny"
    }


def test_dropped_options_lose_their_places() -> None:
    c = _compose(x='extends = "p.toml"\n[miner]\nuse = "coclr"', p='[miner]\nuse = "cpr"\nstages = 3')
    assert ("miner", "stages") not in c.places
    assert str(c.place("miner", "use")) == "x.toml:3:1"


def test_parents_are_not_changed() -> None:
    files = {"x": 'extends = "p.toml"\n[t]\na = 2', "p": "[t]\na = 1"}
    assert _data(**files) == _data(**files) == {"t": {"a": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1), ("a = 1.5", 1.5), ("a=true", True), ('a="x"', "x"), ("a=[1, 2]", [1, 2]), ("a={b=1}", {"b": 1}),
        ("a=plain", "plain"), ("a=", ""), ("a=x=y", "x=y"), ("a=1\nb=2", "1\nb=2"), ("a=1 # no", 1),
    ],
)  # fmt: skip
def test_set_values(text: str, value: object) -> None:
    assert _data(text, x="") == {"a": value}


def test_text_that_is_no_toml_is_marked() -> None:
    assert isinstance(_data("a=plain", x="")["a"], RawText)
    assert not isinstance(_data('a="plain"', x="")["a"], RawText)


def test_set_reaches_into_tables() -> None:
    assert _data("phase.'my phase'.epochs=3", "phase.b.epochs=1", x="[phase.b]\nepochs = 9\nviews = []") == {
        "phase": {"b": {"epochs": 1, "views": []}, "my phase": {"epochs": 3}}
    }


@pytest.mark.parametrize("overrides", [("miner.use=coclr", "miner.topk=2"), ("miner.topk=2", "miner.use=coclr")])
def test_set_in_any_order(overrides: tuple[str, str]) -> None:
    assert _data(*overrides, x='[miner]\nuse = "cpr"\nstages = 3')["miner"] == {"use": "coclr", "topk": 2}


def test_every_wrong_set_is_said_at_once() -> None:
    with pytest.raises(CprspecError) as caught:
        _data("a", "=1", "a b=1", "extends=1", "[t]\na=1", "a=1\nb", x="")
    lines = str(caught.value).split("\n")
    assert lines[0] == "--set: 'a' is not KEY=VALUE; for example miner.stages=5"
    assert [line.startswith("--set: ") for line in lines] == [True] * 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x": "a = 1\nextends = 3"}, "x.toml:2:1: 'extends' must be text; one file, relative to this one"),
        ({"x": 'extends = "x.toml"'}, "x.toml:1:1: 'extends' leads back to x.toml"),
        ({"x": 'extends = "p.toml"', "p": 'extends = "x.toml"'}, "p.toml:1:1: 'extends' leads back to x.toml"),
        ({"x": 'extends = "no.toml"'}, "x.toml:1:1: 'extends' names no.toml, which is not a file"),
        ({"x": 'extends = "' + "n" * 5000 + '"'}, "x.toml:1:1: 'extends' names nnn"),
        ({"x": 'extends = "${NOT_SET_HERE}/p.toml"'}, "x.toml:1:1: environment variable NOT_SET_HERE is not set"),
        ({"x": 'extends = "p.toml"', "p": "a ="}, "p.toml:1:4: not valid TOML"),
    ],
)
def test_wrong_extends(files: dict[str, str], message: str) -> None:
    with pytest.raises(CprspecError) as caught:
        _data(**files)
    assert str(caught.value).startswith(message)


def test_chains_end() -> None:
    files = {f"f{i}": f'extends = "f{i + 1}.toml"' for i in range(30)}
    with pytest.raises(CprspecError, match="more than 16 files"):
        _data(x='extends = "f0.toml"', **files)


def test_variables_in_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert _data(x='extends = "${PLACE}/p.toml"', p="a = 1") == {"a": 1}
