"""Which collections a command is about: a data set by its card's name and a root, or those of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from cprspec.data.index import Entry, Index
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.compose import expand
from cprspec.spec.kinds import Dataset
from cprspec.spec.registry import Card, Registry
from cprspec.spec.resolve import resolve_all
from cprspec.spec.roots import COMMAND_LINE, parse_roots
from cprspec.spec.structure import structure
from cprspec.spec.words import quoted

Named = tuple[str, Dataset, Path]


@frozen
class Collection:
    """The files under one root that data sets name: one, or several such as the splits of a collection."""

    name: str
    datasets: tuple[Dataset, ...]
    root: Path

    def listed(self) -> tuple[Entry, ...]:
        """Every file that is named, there or not, sorted by name; what the first data set says of it counts.

        Folders and manifests name files that are missing or no files, too; of others it is what their index holds.
        CprspecError where what names them is wrong.
        """
        found: dict[str, Entry] = {}
        for dataset in self.datasets:
            entries: Sequence[Entry] | None = dataset.listed(self.root)
            for entry in _of_index(dataset.build(self.root)) if entries is None else entries:
                found.setdefault(entry.name, entry)
        return tuple(found[name] for name in sorted(found))


def find_collections(target: str, registry: Registry, roots: Sequence[str]) -> tuple[Collection, ...]:
    """The collections of `target`, a card's name or an experiment's file, each root once.

    `roots` are `DIR`, for a card or an experiment with one data set, or `NAME=DIR`. Generated videos are no collection.
    CprspecError with all that is wrong.
    """
    path = Path(target)
    if path.suffix == ".toml" or path.is_file():
        found = _of_experiment(path, registry, roots)
    else:
        _, dataset = dataset_of_card(registry, target)
        given = _folders(roots, [target]).get(target)
        found = [] if dataset.embedded else [(target, dataset, _root(target, given))]
    if not found:
        message = f"{quoted(target)} has no collection of videos: they are made when they are used"
        raise CprspecError(Problem(message, hint="there is nothing to index, check or prepare"))
    problems = [Problem("not a folder", Place(str(root))) for _, _, root in found if not root.is_dir()]
    if problems:
        raise CprspecError(list(dict.fromkeys(problems)))
    together: dict[Path, list[tuple[str, Dataset]]] = {}
    for name, dataset, root in found:
        together.setdefault(root, []).append((name, dataset))
    return tuple(Collection(some[0][0], tuple(d for _, d in some), root) for root, some in together.items())


def dataset_of_card(registry: Registry, name: str) -> tuple[Card, Dataset]:
    """The card called `name` and its data set. CprspecError if there is none."""
    card = registry.find("dataset", name)
    if card is None:
        message = f"no data set is called {quoted(name)}"
        raise CprspecError(Problem(message, None, registry.suggest("dataset", name)))
    file = str(card.file) if card.file else "card"
    dataset, wrong = structure(
        card.component, dict(card.options), f"data set {quoted(name)}", lambda path: card.places.get(path, Place(file))
    )
    if not isinstance(dataset, Dataset):
        raise CprspecError(wrong)
    return card, dataset


def _of_experiment(path: Path, registry: Registry, roots: Sequence[str]) -> list[Named]:
    plain = [text for text in roots if "=" not in text]
    named = parse_roots([text for text in roots if "=" in text])
    runs = resolve_all(path, registry, roots=named)
    datasets = {
        (name, run.roots.get(name)): dataset
        for run in runs
        for name, dataset in run.datasets.items()
        if not dataset.embedded
    }
    if plain and datasets:
        names = dict.fromkeys(name for name, _ in datasets)
        given = _folders(plain, list(names))
        datasets = {(name, given.get(name, root)): dataset for (name, root), dataset in datasets.items()}
    return [(name, dataset, _root(name, root)) for (name, root), dataset in datasets.items()]


def _folders(roots: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """The folder that `--root` gives for each data set; one without a name is for the only one."""
    found: dict[str, Path] = {}
    for text in roots:
        name, equals, folder = text.partition("=")
        if not (equals and name in names):
            name, folder = names[0], text
            if len(names) > 1:
                message = f"{clean(text, MAX_ECHO)!r} does not say which data set it is the root of"
                raise CprspecError(Problem(message, Place(COMMAND_LINE), f"write one of {', '.join(names)}, then =DIR"))
        found[name] = expand(folder, Place(COMMAND_LINE)).absolute()
    return found


def _root(name: str, given: Path | None) -> Path:
    if given is None:
        hint = f"say it with --root DIR, or --root {clean(name)}=DIR for an experiment's"
        raise CprspecError(Problem(f"where the videos of data set {quoted(name)} lie is not known", None, hint))
    return given


def _of_index(index: Index) -> list[Entry]:
    return [
        Entry(v.name, None if v.label is None else index.classes[v.label], index.sources[v.source], v.split)
        for v in index.videos
    ]
