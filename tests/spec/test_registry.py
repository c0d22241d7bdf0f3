"""Cards fit their components, and nothing is chosen by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cprspec.components import BUILTIN
from cprspec.errors import CprspecError, Place
from cprspec.spec.registry import KIND_NAMES, Registry, builtin_registry, own_cards
from cprspec.spec.structure import structure

PLUGIN = '''
"""A miner of one's own."""
from typing import ClassVar
from attrs import frozen
from cprspec.spec.kinds import Miner, option

@frozen(kw_only=True)
class Mine(Miner):
    """Mines what it likes."""

    name: ClassVar[str] = "mine"
    depth: int = option(2, help="how deep", ge=1)

COMPONENTS = (Mine,)
'''


def _card(folder: str, text: str, kind: str = "miner", name: str = "mine") -> Path:
    file = Path(folder) / kind / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return Path(folder)


def _error(*folders: Path, plugins: tuple[Path, ...] = ()) -> str:
    with pytest.raises(CprspecError) as caught:
        builtin_registry(folders, plugins)
    return str(caught.value)


ALL = [(kind, name) for kind in KIND_NAMES for name in builtin_registry().names(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_card_fits_its_component(registry: Registry, kind: str, name: str) -> None:
    card = registry.find(kind, name)
    assert card and card.file and card.summary
    assert card.file.parent.parent == own_cards()
    component, problems = structure(card.component, card.options, name, lambda path: Place("card"))
    assert problems == []
    assert component == card.component(**{k: getattr(component, k) for k in card.options})


def test_every_component_has_a_card(registry: Registry) -> None:
    implemented = {registry.find(kind, name).component for kind, name in ALL}  # type: ignore[union-attr]
    assert set(BUILTIN) <= implemented


def test_every_file_in_the_folder_is_a_card() -> None:
    files = {(f.parent.name, f.stem) for f in own_cards().rglob("*") if f.is_file()}
    assert files == set(ALL)


def test_every_option_says_what_it_is() -> None:
    registry = builtin_registry()
    for kind, name in ALL:
        described = registry.describe(kind, name)
        json.dumps(described, allow_nan=False)
        assert described["description"]
        assert all(option["help"] for option in described["options"]), name


def test_described_values_are_the_cards() -> None:
    options = {o["name"]: o for o in builtin_registry().describe("miner", "coclr")["options"]}
    assert options["stages"]["default"] == 1
    assert options["stages"]["set_by_card"]
    assert options["ratio"]["default"] == 0.5
    assert options["stages"]["bounds"] == {"ge": 1}


def test_suggestions(registry: Registry) -> None:
    assert registry.suggest("miner", "cocrl") == "did you mean 'coclr'?"
    assert registry.suggest("miner", "moco") == "'moco' is a card of kind 'framework'"
    assert "choose from" in registry.suggest("view", "zzzzzz")


def test_extra_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    one = _card("one", 'implements = "cascade"\nsummary = "s"\n[options]\ntopk = 2')
    two = _card("two", 'implements = "labels"\nsummary = "s"', name="other")
    monkeypatch.setenv("CPRSPEC_REGISTRY", str(two))
    names = builtin_registry([one]).names("miner")
    assert {"mine", "other", "cpr"} <= set(names)
    assert "mine" not in builtin_registry().names("miner")


def test_cards_nearby_are_not_found() -> None:
    _card("registry", 'implements = "cascade"\nsummary = "s"')
    assert "mine" not in builtin_registry().names("miner")


def test_one_name_with_two_contents_names_both() -> None:
    one = _card("one", 'implements = "cascade"\nsummary = "s"\n[options]\ntopk = 2')
    two = _card("two", 'implements = "cascade"\nsummary = "s"\n[options]\ntopk = 3')
    same = _card("same", 'summary = "s"\nimplements = "cascade"\noptions = { topk = 2 }')
    message = _error(one, two)
    assert message == (
        "two/miner/mine.toml: miner 'mine' is defined twice with different contents; the other is one/miner/mine.toml"
    )
    assert "mine" in builtin_registry([one, same]).names("miner")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('implements = "cascad"\nsummary = "s"', "1:1: no miner component is called 'cascad'; did you mean 'cascade'?"),
        ('implements = "moco"\nsummary = "s"', "1:1: no miner component is called 'moco'"),
        ('implements = "cascade"', " the card has no 'summary'"),
        ('implements = 3\nsummary = "s"', "1:1: 'implements' must be text, found 3 (whole number)"),
        (
            'implements = "cascade"\nsummary = "s"\noption = 1',
            "3:1: unknown key 'option' in a card; did you mean 'options'?",
        ),
        ("implements", "1:11: not valid TOML"),
    ],
)
def test_wrong_cards(text: str, message: str) -> None:
    assert _error(_card("one", text)).startswith(f"one/miner/mine.toml:{message}")


def test_missing_folder() -> None:
    assert _error(Path("none")).startswith("none: not a folder of cards")


def test_plugin() -> None:
    Path("my_miner.py").write_text(PLUGIN)
    registry = builtin_registry(plugins=[Path("my_miner.py")])
    card = registry.find("miner", "mine")
    assert card and card.summary == "Mines what it likes"
    assert builtin_registry(plugins=[Path("my_miner.py")]).find("miner", "mine").component is card.component  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "p.py: the plugin failed: ZeroDivisionError"),
        ("", "p.py: no components here; expected COMPONENTS = (MyComponent,)"),
        ("COMPONENTS = (int,)", "p.py: no components here"),
        (PLUGIN.replace('"mine"', '"cascade"'), "two components are called miner 'cascade'"),
        (PLUGIN.replace("@frozen(kw_only=True)\n", ""), ""),
    ],
)
def test_wrong_plugins(text: str, message: str, tmp_path: Path) -> None:
    Path("p.py").write_text(text)
    assert message in _error(plugins=(Path("p.py"),))


def test_missing_plugin() -> None:
    assert _error(plugins=(Path("no.py"),)).startswith("no.py: no such plugin file")
