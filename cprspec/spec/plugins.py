"""Components from outside the package: installed packages, and Python files that `--plugin` names.

An experiment is data and can never name Python code; these are the only ways in, and both are the user's own act.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.kinds import Component

ENTRY_POINTS = "cprspec.components"
"""Entry point group of installed packages: each names a component or a tuple of them."""


def load_installed() -> list[type[Component]]:
    """The components of installed packages, through the entry point group ENTRY_POINTS."""
    components: list[type[Component]] = []
    for entry in entry_points(group=ENTRY_POINTS):
        components += _load_entry(entry.name, entry.load)
    return components


def load_plugin(path: Path) -> tuple[type[Component], ...]:
    """The components in `COMPONENTS` of a Python file, which is run. Raises CprspecError if it cannot be."""
    name = f"cprspec_plugin_{path.stem}"
    place = Place(str(path))
    if not path.is_file():
        raise CprspecError(Problem("no such plugin file", place, "--plugin names a Python file"))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CprspecError(Problem("not a Python file", place, "a plugin's name ends in .py"))
    already = sys.modules.get(name)
    if already is not None and already.__file__ is not None and Path(already.__file__).resolve() == path.resolve():
        return _components_of(already.__dict__.get("COMPONENTS"), place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # attrs resolves types through it, and pickle finds classes by it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        reason = clean(f"{type(error).__name__}: {error}", MAX_ECHO)
        raise CprspecError(Problem(f"the plugin failed: {reason}", place)) from error
    return _components_of(module.__dict__.get("COMPONENTS"), place)


def _load_entry(name: str, load: object) -> tuple[type[Component], ...]:
    """The components of an installed package's entry point."""
    place = Place(f"entry point {name}")
    try:
        loaded = load() if callable(load) else None
    except Exception as error:
        reason = clean(f"{type(error).__name__}: {error}", MAX_ECHO)
        raise CprspecError(Problem(f"the installed components failed to load: {reason}", place)) from error
    return _components_of(getattr(loaded, "COMPONENTS", loaded), place)


def _components_of(value: object, place: Place) -> tuple[type[Component], ...]:
    """`value` as components: one class, or a tuple or list of them."""
    each: Iterable[object] = value if isinstance(value, (tuple, list)) else (value,)
    components = tuple(c for c in each if isinstance(c, type) and issubclass(c, Component))
    if not components or len(components) != (len(value) if isinstance(value, (tuple, list)) else 1):
        raise CprspecError(Problem("no components here", place, "expected COMPONENTS = (MyComponent,)"))
    return components
