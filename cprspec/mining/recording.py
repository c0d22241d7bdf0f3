"""A recording: one epoch of mining as tensors, all that mining it again needs, and nothing of the data beside it.

The bank as it was before the epoch's first step, then what every step brought, in the epoch's global order: step, then
micro-batch, then rank, then clip. Beside it the class and source of every video, with their names, so that the file
is judged without the videos. It is `mining/replay.safetensors` of a phase (docs/run-directory.md); 15 MB for UCF101.

Legend: M clips of the epoch, V videos of the data set, U usable (training) videos.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import field, frozen
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

SCHEMA, KIND = 1, "replay"
HEADER = "cprspec"
"""The entry of the safetensors header that holds the facts."""

_VIDEOS = ("label_V", "source_V", "usable_U")
_TEXTS = ("classes", "names")


@frozen(kw_only=True)
class RecordedEpoch:
    """Which epoch it was and how it was made. Clips of one step: `world_size * accumulate` equal parts.

    `directions` are what the framework mines for and the view that mines, empty where there is one thing only; `replay`
    says which framework it was, and what it takes to move its bank.
    """

    phase: str
    dataset: str
    epoch: int
    seed: int
    batch_size: int
    accumulate: int
    world_size: int
    threads: int
    device: str
    directions: Mapping[str, str] = field(factory=dict)
    replay: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True, eq=False)
class Recording:
    """`bank`: the framework's tensors before the first step; `clips`: each clip's `video_M`, and embeddings `[M,D]`.

    `label_V` is -1 where a video has no class; `usable_U` are the ids of the training videos, ascending.
    """

    epoch: RecordedEpoch
    bank: Mapping[str, Tensor]
    clips: Mapping[str, Tensor]
    label_V: Tensor
    source_V: Tensor
    usable_U: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def video_M(self) -> Tensor:
        """The video of each clip."""
        return self.clips["video_M"]

    @property
    def steps(self) -> int:
        """Optimiser steps of the epoch."""
        return len(self.video_M) // self.epoch.batch_size

    @property
    def part(self) -> int:
        """Clips that one rank mined for at a time."""
        return self.epoch.batch_size // (self.epoch.accumulate * self.epoch.world_size)

    def to(self, device: torch.device) -> Recording:
        """The same with its tensors on `device`."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in _VIDEOS}
        for group in ("bank", "clips"):
            moved[group] = {name: tensor.to(device) for name, tensor in getattr(self, group).items()}
        return attrs.evolve(self, **moved)

    def to_bytes(self) -> bytes:
        """The file's content: tensors as `bank.key_KD` or `label_V`, the rest as JSON in the header."""
        tensors = {name: getattr(self, name) for name in _VIDEOS}
        tensors |= {f"bank.{name}": tensor for name, tensor in self.bank.items()}
        tensors |= {f"clips.{name}": tensor for name, tensor in self.clips.items()}
        facts = {"schema": SCHEMA, "kind": KIND, **attrs.asdict(self.epoch)}
        facts |= {"classes": self.classes, "names": self.names}
        # One entry: safetensors writes several in any order, and equal recordings shall be equal files.
        header = {HEADER: json.dumps(facts, ensure_ascii=True)}
        return to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, header)


def read_recording(path: Path) -> Recording:
    """The recording at `path`. CprspecError when there is none, or it is damaged or of a newer schema."""
    try:
        recording = _parse(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return recording


def unreadable(path: Path, reason: str) -> CprspecError:
    """The error for a file that cannot be replayed."""
    hint = "train the phase again to record it (--fresh)"
    return CprspecError(Problem(f"not a recording of mining: {clean(reason, MAX_ECHO)}", Place(str(path)), hint))


def _parse(content: bytes) -> Recording:
    """The recording in a file's content. ValueError, KeyError or TypeError with what is wrong."""
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
    if facts["kind"] != KIND or facts["schema"] != SCHEMA:
        raise ValueError(f"it is {facts['kind']!r} of schema {facts['schema']!r}")
    tensors = from_bytes(content)
    groups: dict[str, dict[str, Tensor]] = {"bank": {}, "clips": {}}
    for name, tensor in tensors.items():
        group, _, own = name.partition(".")
        if own:
            groups[group][own] = tensor
    recording = Recording(
        epoch=RecordedEpoch(**{each.name: facts[each.name] for each in attrs.fields(RecordedEpoch)}),
        bank=groups["bank"],
        clips=groups["clips"],
        label_V=tensors["label_V"],
        source_V=tensors["source_V"],
        usable_U=tensors["usable_U"],
        classes=tuple(str(text) for text in facts["classes"]),
        names=tuple(str(text) for text in facts["names"]),
    )
    _check(recording)
    return recording


def _check(recording: Recording) -> None:
    """ValueError where a damaged file would give a wrong table, or crash."""
    clips, videos, epoch = len(recording.video_M), len(recording.label_V), recording.epoch
    groups = epoch.accumulate * epoch.world_size
    if min(epoch.batch_size, epoch.accumulate, epoch.world_size) < 1 or epoch.batch_size % groups:
        raise ValueError(f"a batch of {epoch.batch_size} does not divide into {groups} parts")
    if clips % epoch.batch_size:
        raise ValueError(f"{clips} clips are no whole batches of {epoch.batch_size}")
    for name, tensor in recording.clips.items():
        if len(tensor) != clips or tensor.ndim != (1 if name == "video_M" else 2):
            raise ValueError(f"{name} is of shape {list(tensor.shape)}, expected {clips} rows")
    if len(recording.source_V) != videos:
        raise ValueError(f"{videos} labels and {len(recording.source_V)} sources")
    for name, ids in (("video_M", recording.video_M), ("usable_U", recording.usable_U)):
        check_ids(name, ids, videos)


def check_ids(name: str, ids: Tensor, videos: int, lowest: int = 0) -> None:
    """ValueError where `ids` name a video that there is not."""
    if ids.is_floating_point() or (len(ids) and (int(ids.max()) >= videos or int(ids.min()) < lowest)):
        raise ValueError(f"{name} names videos that there are not")
