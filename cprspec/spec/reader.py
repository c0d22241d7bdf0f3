"""Reads the tables that choose components: a card by `use`, its options, the experiment's options over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from cprspec.errors import Place, Problem
from cprspec.spec.compose import DEFAULT_USE, Composed, merged
from cprspec.spec.positions import KeyPath
from cprspec.spec.registry import Card, Registry
from cprspec.spec.structure import structure
from cprspec.spec.tables import NAMED_TABLES
from cprspec.spec.words import found, quoted


@define
class ComponentReader:
    """Turns tables of one experiment into components, adding to `problems` and remembering the `cards` chosen."""

    composed: Composed
    registry: Registry
    problems: list[Problem]
    cards: dict[str, str] = field(factory=dict)

    def single(self, kind: str, phase: str | None = None) -> Any:
        """The component of `kind` for all phases, or for `phase` with its own table over the experiment's.

        None if the table is wrong, or if there is no table and no default.
        """
        top = self.composed.data.get(kind, {})
        own = self.composed.data["phase"][phase].get(kind, {}) if phase else {}
        if not isinstance(own, dict):
            path = ("phase", str(phase), kind)
            message = f"{quoted(kind)} of phase {quoted(phase)} must be a table, found {found(own)}"
            self.problems.append(Problem(message, self.composed.place(*path), f"write {kind} = {{ ... }}"))
            return None
        paths: list[KeyPath] = [("phase", phase, kind)] if phase and own else []
        implied = DEFAULT_USE.get(kind)
        if not (top or own) and implied is None:
            return None
        component = self.component(kind, merged(top, own, kind), implied, [*paths, (kind,)])
        if phase and component is not None:
            self.cards[f"phase.{phase}.{kind}"] = str(merged(top, own, kind).get("use", implied))
        elif component is not None and kind == "backbone":  # the one component that no phase has of its own
            self.cards[kind] = str(top.get("use", implied))
        return component

    def named(self, section: str, also: Mapping[str, KeyPath] | None = None) -> dict[str, Any]:
        """The components of every table [section.NAME], and of the cards that `also` names, with where it names them."""
        mentioned = also or {}
        tables: Mapping[str, Any] = self.composed.data.get(section, {})
        result: dict[str, Any] = {}
        for name in dict.fromkeys([*tables, *mentioned]):
            table = tables.get(name, {})
            if not isinstance(table, dict):
                message = f"{quoted(name)} in [{section}] must be a table, found {found(table)}"
                hint = f"write [{section}.NAME] with use = ..."
                self.problems.append(Problem(message, self.composed.place(section, name), hint))
                continue
            kind = NAMED_TABLES[section]
            implied = name if name not in tables or self.registry.find(kind, name) else None
            path = (section, name) if name in tables else mentioned[name]
            component = self.component(kind, table, implied, [path])
            if component is not None:
                result[name] = component
                self.cards[f"{section}.{name}"] = str(table.get("use", implied))
        return result

    def component(self, kind: str, table: Mapping[str, Any], implied: str | None, paths: Sequence[KeyPath]) -> Any:
        """The component that `table` chooses; `implied` is the card without `use`. `paths`: where the table stands."""
        card = self._card(kind, table, implied, paths)
        if card is None:
            return None
        options = {**card.options, **{k: v for k, v in table.items() if k != "use"}}
        where = _Where(self.composed, paths, card, table)
        component, wrong = structure(card.component, options, f"{kind} {quoted(card.name)}", where, ("use",))
        self.problems += wrong
        return component

    def _card(self, kind: str, table: Mapping[str, Any], implied: str | None, paths: Sequence[KeyPath]) -> Card | None:
        name = table.get("use", implied)
        place = _written(self.composed, paths, ("use",))
        if name is None:
            hint = self.registry.suggest(kind, "")
            self.problems.append(Problem(f"the table chooses no {kind}: it has no 'use'", place, hint))
            return None
        if not isinstance(name, str):
            self.problems.append(Problem(f"'use' must be text, found {found(name)}", place))
            return None
        card = self.registry.find(kind, name)
        if card is None:
            message = f"no {kind} is called {quoted(name)}"
            self.problems.append(Problem(message, place, self.registry.suggest(kind, name)))
        return card

    def place_of_option(self, section: str, name: str, option: str) -> Place:
        """Where `option` of [section.name] was written: in the experiment or on its card."""
        card = self.registry.find(NAMED_TABLES[section], self.cards[f"{section}.{name}"])
        table = self.composed.data.get(section, {}).get(name, {})
        return _Where(self.composed, [(section, name)], card, table)((option,))

    def folder_of_option(self, section: str, name: str, option: str) -> Path:
        """The folder to which a path in `option` of [section.name] is relative."""
        if option in self.composed.data.get(section, {}).get(name, {}):
            return self.composed.folder(section, name, option)
        return Path(self.place_of_option(section, name, option).file).parent


class _Where:
    """The place of an option: in the experiment if it was written there, on the card if there."""

    def __init__(
        self, composed: Composed, paths: Sequence[KeyPath], card: Card | None, table: Mapping[str, Any]
    ) -> None:
        self.composed = composed
        self.paths = paths
        self.card = card
        self.table = table

    def __call__(self, path: KeyPath) -> Place:
        if self.card and self.card.file and path and path[0] not in self.table and path[0] in self.card.options:
            return self.card.places.get(path) or Place(str(self.card.file))
        return _written(self.composed, self.paths, path)


def _written(composed: Composed, paths: Sequence[KeyPath], path: KeyPath) -> Place:
    """The place of `path` in the first of the tables at `paths` that has it, or of the first table."""
    for length in range(len(path), 0, -1):
        for base in paths:
            found_place = composed.places.get((*base, *path[:length]))
            if found_place:
                return found_place
    return composed.place(*paths[0])
