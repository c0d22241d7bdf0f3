"""Features of any videos by an exported encoder, in this process and without a run: for scripts and notebooks.

The same features as in evaluation: every test window, L2-normalised, averaged (evaluation/features.py).
Shapes: V videos, F size of the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from attrs import frozen

from cprspec.data.folder import read_folder
from cprspec.data.index import Index, Video
from cprspec.data.stores import is_store, open_store
from cprspec.errors import CprspecError, Place, Problem
from cprspec.evaluation.features import FrozenEncoder, choose_for, encode_videos
from cprspec.learning.ranks import Ranks, pick_device
from cprspec.models.encoders import fill, new_encoder, read_weights
from cprspec.models.frozen import freeze
from cprspec.models.heads import Encoder
from cprspec.runs.layout import RunDir
from cprspec.spec.kinds import PRECISIONS
from cprspec.spec.plugins import load_plugin
from cprspec.spec.registry import Registry
from cprspec.spec.schema import Launch, WeightsFile
from cprspec.spec.words import listed, quoted
from cprspec.training.environment import file_digest
from cprspec.video.clips import TestClips
from cprspec.video.normalise import Normalise
from cprspec.video.store import Store
from cprspec.weights.card import WEIGHTS, ModelCard, read_card
from cprspec.weights.embeddings import Embeddings
from cprspec.weights.export import export_run

AT_ONCE = 16
"""Videos between two reports of progress."""

DEVICES = ("auto", "cpu", "cuda")

VIEW = "view"
"""What the one view of an export is called inside."""

Progress = Callable[[int, int], None]


@frozen(eq=False)
class LoadedEncoder:
    """An exported encoder: its `card`, its `network` (`features`: `[N,3,T,H,W] -> [N,F]`), in evaluation mode."""

    card: ModelCard
    network: Encoder
    device: torch.device
    store: Store

    def embed(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        workers: int = 0,
        precision: str = "float32",
        progress: Progress | None = None,
    ) -> Embeddings:
        """Features of videos: files, and folders with all videos below them. Rows are in the order of `paths`.

        No process is started unless `workers` asks for some. `precision`: float32 or bf16
        (models/frozen.py). `progress` hears (videos done, videos). CprspecError with every file that is no readable video.
        """
        check_precision(precision)
        index, names = _index([paths] if isinstance(paths, str | Path) else list(paths))
        lengths = _decode(index, self, progress)
        launch, ranks = Launch(workers=workers), Ranks(device=self.device)
        # A copy: the caller may want the network as it is on disk.
        encoder = FrozenEncoder(freeze(deepcopy(self.network), precision), VIEW, Normalise(self.card.view))
        choose_for({VIEW: encoder}, self.card.clip, launch, ranks)
        rows = [torch.empty(0, self.network.feature_size)]
        everything = np.arange(len(index.videos), dtype=np.int64)
        for ids in np.split(everything, range(AT_ONCE, len(everything), AT_ONCE)):
            clips = TestClips(index, ids, {VIEW: self.card.view}, self.card.clip, self.store)
            _, features = encode_videos({VIEW: encoder}, clips, launch, ranks)
            rows.append(features[VIEW])
            if progress:
                progress(len(everything) + int(ids[-1]) + 1, 2 * len(everything))
        labels = tuple(None if v.label is None else index.classes[v.label] for v in index.videos)
        paths, warnings = tuple(v.path for v in index.videos), _short(names, lengths, self.card)
        return Embeddings(paths, labels, torch.cat(rows), self.card.maker, warnings, names)


def check_precision(precision: str) -> None:
    """CprspecError for what is no precision."""
    if precision not in PRECISIONS:
        raise CprspecError(Problem(f"cannot compute in {quoted(precision)}", hint=f"choose from {listed(PRECISIONS)}"))


def load_encoder(export: Path, device: str = "auto", plugins: Sequence[Path] = ()) -> LoadedEncoder:
    """The encoder that `cprspec export` wrote into the folder `export`. CprspecError where card and weights disagree."""
    if device not in DEVICES or (device == "cuda" and not torch.cuda.is_available()):
        why = "no CUDA device is there" if device in DEVICES else f"choose from {listed(DEVICES)}"
        raise CprspecError(Problem(f"cannot compute on {quoted(device)}", hint=why))
    more = tuple(component for plugin in plugins for component in load_plugin(plugin))
    card = read_card(export, more)
    file = export / WEIGHTS
    try:
        digest = file_digest(file)
    except OSError as error:
        raise CprspecError(Problem(f"cannot read weights ({error.strerror})", Place(str(file)))) from error
    if digest != card.weights_sha256:
        raise CprspecError(Problem("sha256 differs from the model card's", Place(str(file)), "export it again"))
    network = new_encoder(card.backbone, card.embedding, seed=0)
    source = WeightsFile(file)
    fill(network, read_weights(source), "exported encoder", source)
    return LoadedEncoder(card, network.eval(), pick_device(device, 0), Store())


def _index(paths: Sequence[str | Path]) -> tuple[Index, tuple[str, ...]]:
    """The videos of files, folders and stores, each once, and their names; a folder's first level below are its classes.

    A video of a store is called as it was when the store was prepared, any other by its path.
    """
    found: dict[Path, str | None] = {}
    names: dict[Path, str] = {}
    problems: list[Problem] = []
    for path in (Path(p) for p in paths):
        if path.is_dir():
            try:
                store = is_store(path)
                folder = open_store(path).index(0) if store else read_folder(path, None, None, 0.0)
            except CprspecError as error:
                problems += error.problems
                continue
            for video in folder.videos:
                found.setdefault(video.path, None if video.label is None else folder.classes[video.label])
                names.setdefault(video.path, video.name if store else str(video.path))
        elif path.exists():
            found.setdefault(path, None)
        else:
            problems.append(Problem("no such file or folder", Place(str(path))))
    if not found and not problems:
        problems.append(Problem("no videos are named"))
    if problems:
        raise CprspecError(problems)
    classes = sorted({label for label in found.values() if label is not None})
    number = {label: i for i, label in enumerate(classes)}
    videos = [
        Video(path=path, name=str(path), label=None if label is None else number[label], source=i, split="test", size=0)
        for i, (path, label) in enumerate(found.items())
    ]
    return Index(tuple(classes), (), tuple(videos)), tuple(names.get(path, str(path)) for path in found)


def _decode(index: Index, encoder: LoadedEncoder, progress: Progress | None) -> list[int]:
    """Have every video in the store, so that all bad ones are told before anything is encoded; frames of each."""
    lengths: list[int] = []
    problems: list[Problem] = []
    for done, video in enumerate(index.videos, start=1):
        try:
            lengths.append(len(encoder.store.read(video.path, encoder.card.view, encoder.card.clip.stored_side)))
        except CprspecError as error:
            problems += error.problems
        if progress:
            progress(done, 2 * len(index.videos))
    if problems:
        raise CprspecError(list(dict.fromkeys(problems)), exit_code=1)  # of a store all videos have one
    return lengths


def _short(names: Sequence[str], lengths: Sequence[int], card: ModelCard) -> tuple[Problem, ...]:
    needed = card.clip.frames * card.clip.stride
    short = [name for name, n in zip(names, lengths, strict=True) if n < needed]
    if not short:
        return ()
    message = f"{len(short)} of {len(lengths)} videos are shorter than a clip of {needed} frames"
    hint = f"they are padded with their first frame: {', '.join(short[:3])}{' ...' if len(short) > 3 else ''}"
    return (Problem(message, hint=hint, warning=True),)


def load_run_encoder(
    run: RunDir, phase: str | None, registry: Registry, device: str = "auto", plugins: Sequence[Path] = ()
) -> LoadedEncoder:
    """The encoder that `phase` (None: the last) of a run ended with, as `cprspec export` would write it."""
    with TemporaryDirectory(prefix="cprspec-export-") as folder:
        return load_encoder(export_run(run, phase, Path(folder) / "encoder", registry).folder, device, plugins)
