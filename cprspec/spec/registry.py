"""What an experiment can choose from: components (Python declarations) and cards (TOML files that name a choice).

A card names a component, sets some of its options and says which paper it follows, so several cards may share a
component: `coclr`, `cpr` and `siblings` are one cascade. Nothing registers itself: `builtin_registry` collects everything
there is, in one place. One name with two contents is an error that names both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

import cprspec
from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.by_epoch import plain
from cprspec.spec.document import read_document
from cprspec.spec.kinds import KINDS, Component, fields_of
from cprspec.spec.plugins import load_installed, load_plugin
from cprspec.spec.positions import KeyPath
from cprspec.spec.words import did_you_mean, found, quoted

KIND_NAMES: tuple[str, ...] = tuple(kind.kind for kind in KINDS)
"""Words for the kinds of component, in the order in which they are listed."""

FOLDERS_VARIABLE = "CPRSPEC_REGISTRY"
"""Environment variable with extra folders of cards, separated as PATH is."""


@frozen
class Card:
    """A named choice: `options` of `component`. `file` and `places` say where it was written, if it was."""

    kind: str
    name: str
    component: type[Component]
    options: Mapping[str, Any] = field(factory=dict)
    summary: str = ""
    paper: str | None = None
    file: Path | None = None
    places: Mapping[KeyPath, Place] = field(factory=dict, eq=False, repr=False)

    def content(self) -> tuple[object, ...]:
        """What must agree when two files define one name."""
        return (self.component, dict(self.options), self.summary, self.paper)


class Registry:
    """Components and the cards over them. Raises CprspecError with every card that is wrong."""

    def __init__(self, components: Iterable[type[Component]], card_folders: Sequence[Path] = ()) -> None:
        self._components: dict[tuple[str, str], type[Component]] = {}
        self._cards: dict[tuple[str, str], Card] = {}
        problems: list[Problem] = []
        for component in components:
            problems += self._add_component(component)
        for folder in card_folders:
            problems += self._add_folder(folder)
        if problems:
            raise CprspecError(problems)
        implemented = {card.component for card in self._cards.values()}
        for (kind, name), component in self._components.items():
            if component not in implemented:  # a plugin need not bring a card: its own name and defaults are one
                self._cards.setdefault((kind, name), Card(kind, name, component, summary=summary_of(component)))

    def names(self, kind: str) -> list[str]:
        """Names of the cards of `kind`, in alphabetical order."""
        return sorted(name for k, name in self._cards if k == kind)

    def find(self, kind: str, name: str) -> Card | None:
        """The card of `kind` called `name`."""
        return self._cards.get((kind, name))

    def suggest(self, kind: str, name: str) -> str:
        """The hint for a `name` that is not a card of `kind`."""
        elsewhere = [k for k, n in self._cards if n == name and k != kind]
        if elsewhere:
            return f"{quoted(name)} is a card of kind {elsewhere[0]!r}"
        return did_you_mean(name, self.names(kind))

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """Card `name` of `kind` for a reader or as JSON: summary, paper, component, and each option with its bounds."""
        card = self._cards[kind, name]
        return {
            "kind": kind,
            "name": name,
            "implements": card.component.name,
            "summary": card.summary,
            "paper": card.paper,
            "description": " ".join((card.component.__doc__ or "").split()),
            "file": str(card.file) if card.file else None,
            "options": [_describe_option(a, card.options) for a in fields_of(card.component)],
        }

    def _add_component(self, component: type[Component]) -> list[Problem]:
        where = f"{component.__module__}.{component.__qualname__}"
        if getattr(component, "kind", None) not in KIND_NAMES or not hasattr(component, "__attrs_attrs__"):
            return [
                Problem(f"{where} is not a component", None, "derive an attrs class from one in cprspec.spec.kinds")
            ]
        if not isinstance(getattr(component, "name", None), str):
            return [Problem(f"component {where} has no name")]
        key = (component.kind, component.name)
        other = self._components.setdefault(key, component)
        if other is not component:
            message = f"two components are called {component.kind} {quoted(component.name)}"
            return [Problem(message, None, f"{other.__module__}.{other.__qualname__} and {where}")]
        return []

    def _add_folder(self, folder: Path) -> list[Problem]:
        if not folder.is_dir():
            return [Problem("not a folder of cards", Place(str(folder)), "expected KIND/NAME.toml inside")]
        problems: list[Problem] = []
        for kind in KIND_NAMES:
            for file in sorted((folder / kind).glob("*.toml")):
                try:
                    card = _read_card(kind, file, self._components)
                except CprspecError as error:
                    problems += error.problems
                    continue
                other = self._cards.setdefault((kind, card.name), card)
                if other.content() != card.content():
                    message = f"{kind} {quoted(card.name)} is defined twice with different contents"
                    problems.append(Problem(message, Place(str(file)), f"the other is {other.file}"))
        return problems


def builtin_registry(registry_dirs: Sequence[Path] = (), plugins: Sequence[Path] = ()) -> Registry:
    """The registry of this installation, with extra folders of cards and plugin files."""
    from cprspec.components import BUILTIN  # spec knows no component by name: this is the one place that collects them

    components = [*BUILTIN, *load_installed()]
    for plugin in plugins:
        components += load_plugin(plugin)
    named = [Path(p) for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    return Registry(dict.fromkeys(components), [own_cards(), *named, *registry_dirs])


def own_cards() -> Path:
    """The folder of cprspec's cards: beside the package in an installation, its sibling in a checkout."""
    package = Path(cprspec.__file__).parent
    installed = package / "_registry"
    return installed if installed.is_dir() else package.parent / "registry"


def summary_of(component: type[Component]) -> str:
    """The first line of a component's docstring, without its full stop."""
    return (component.__doc__ or "").strip().split("\n")[0].rstrip(".")


def _read_card(kind: str, file: Path, components: Mapping[tuple[str, str], type[Component]]) -> Card:
    """One card. Its options are checked when an experiment uses them, together with the experiment's own."""
    document = read_document(file)
    expected: dict[str, type] = {"implements": str, "summary": str, "paper": str, "options": dict}
    problems = []
    for key, value in document.data.items():
        place = document.places.get((key,), Place(document.file))
        if key not in expected:
            problems.append(Problem(f"unknown key {quoted(key)} in a card", place, did_you_mean(key, expected)))
        elif not isinstance(value, expected[key]):
            word = "a table" if expected[key] is dict else "text"
            problems.append(Problem(f"{quoted(key)} must be {word}, found {found(value)}", place))
    for key in ("implements", "summary"):
        if key not in document.data:
            problems.append(Problem(f"the card has no {quoted(key)}", Place(document.file)))
    if problems:
        raise CprspecError(problems)
    name = document.data["implements"]
    component = components.get((kind, name))
    if component is None:
        hint = did_you_mean(name, [n for k, n in components if k == kind])
        raise CprspecError(
            Problem(f"no {kind} component is called {quoted(name)}", document.places["implements",], hint)
        )
    return Card(
        kind=kind,
        name=file.stem,
        component=component,
        options=document.data.get("options", {}),
        summary=document.data["summary"],
        paper=document.data.get("paper"),
        file=file,
        places={path[1:]: place for path, place in document.places.items() if path[0] == "options"},
    )


def _describe_option(attribute: attrs.Attribute[Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """One option: its type, the value it has on this card, and its bounds."""
    default = None if attribute.default is attrs.NOTHING else attribute.default
    value = card.get(attribute.name, default)
    metadata = attribute.metadata
    bounds = {word: metadata[word] for word in ("ge", "gt", "le", "lt") if metadata.get(word) is not None}
    return {
        "name": attribute.name,
        "type": str(attribute.type),
        "default": plain(value),
        "set_by_card": attribute.name in card,
        "bounds": bounds,
        "choices": list(metadata["choices"]) if metadata.get("choices") else None,
        "help": metadata.get("help", ""),
    }
