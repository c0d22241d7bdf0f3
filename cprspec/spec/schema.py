"""The resolved experiment: what an experiment file means once every default is filled in.

`resolve` makes these from TOML; training, evaluation and `show` read them. Everything is frozen. Shapes and units:
`epochs` whole passes, `batch_size` clips over all ranks, `size` pixels, `frames` frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from cprspec.errors import Place, Problem
from cprspec.spec.kinds import (
    Augment,
    Backbone,
    Dataset,
    Evaluator,
    Framework,
    Miner,
    Optimizer,
    Schedule,
    View,
    option,
)

FORMAT = 1
"""The format of experiment files that this version reads."""

RECIPE = 1
"""Raised by hand when the meaning of training changes, so that phases trained before are not reused."""

JUDGING = 1
"""The same for evaluations."""

RANDOM = "random"
"""The encoder name of the untrained network in an evaluator's `encoders`."""


@frozen(kw_only=True)
class Clip:
    """What is cut from a video: `frames` every `stride`, cropped to `size` from pictures stored at `short_side`."""

    frames: int = option(32, help="frames in a clip", ge=1)
    stride: int = option(1, help="video frames from one clip frame to the next", ge=1)
    size: int = option(128, help="height and width of a clip, pixels", ge=8)
    short_side: int | None = option(
        None, help="short side of the stored pictures that crops are cut from, pixels (default: 9/8 of size)", ge=8
    )

    @property
    def stored_side(self) -> int:
        """Short side of the stored pictures, pixels."""
        return self.short_side or -(-self.size * 9 // 8)


@frozen
class WeightsFile:
    """`start_from = { file = "x.safetensors" }`: weights from a file; relative to the experiment that says so."""

    file: Path
    allow_missing: tuple[str, ...] = ()


@frozen(kw_only=True)
class Phase:
    """One training job of a recipe, with everything it needs; see DESIGN for each word.

    `views` learn; `start_from` gives the first weights; `mine_with` names the phase whose frozen encoder mines. `miner`
    is None unless the phase mines. `clip`, `augment` etc. are this phase's own, defaults of the experiment filled in.
    """

    name: str
    views: tuple[str, ...]
    epochs: int
    seed: int
    dataset: str
    start_from: str | WeightsFile | None
    mine_with: str | None
    batch_size: int
    accumulate: int
    precision: str
    clip: Clip
    backbone: Backbone
    augment: Augment
    framework: Framework
    optimizer: Optimizer
    schedule: Schedule
    miner: Miner | None

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the phases this one needs, each once."""
        names = [n for n in (self.start_from, self.mine_with) if isinstance(n, str)]
        return tuple(dict.fromkeys(names))


@frozen(kw_only=True)
class Launch:
    """How a run uses the machine; never part of what is learned, never in a fingerprint."""

    device: str = option("auto", help="where to train", choices=("auto", "cpu", "cuda"))
    workers: int = option(1, help="data workers of each rank; 0 decodes in the training process", ge=0)
    threads: int = option(0, help="CPU threads of each rank; 0 shares the cores between ranks and workers", ge=0)
    prefetch_gib: float = option(
        1.0,
        help="shared memory for clips that the data workers of a rank read ahead, GiB; never less than two batches",
        gt=0,
    )
    data_timeout_s: float = option(90.0, help="longest time a data worker may take for one video, seconds", gt=0)
    bad_clips: float = option(
        0.01, help="share of an epoch's clips that others may replace since their video cannot be read", ge=0, le=1
    )
    cache: str = option(
        "auto",
        help="what is kept decoded on disk: auto (source files, and not what a store has), decoded (all), none",
        choices=("auto", "decoded", "none"),
    )
    timeout_s: float = option(120.0, help="seconds without a peer's answer after which a rank gives up", gt=0)
    checkpoint_minutes: float = option(10.0, help="longest time between two checkpoints, minutes", gt=0)
    keep_last: int = option(
        2, help="newest checkpoints of a phase in training that stay; of a finished one the last", ge=1
    )
    keep_best: int = option(0, help="checkpoints at the ends of the best epochs that stay beside them", ge=0)
    best_by: str = option(
        "loss", help="what is best", choices=("loss", "own_key_accuracy", "precision", "cmr_source_median")
    )
    log_every: int = option(10, help="steps from one step event to the next", ge=1)
    replay: bool = option(True, help="record the last mined epoch of each phase, for `cprspec mine`")
    convolutions: str = option(
        "auto",
        help="how convolutions in space or in time are computed: in two dimensions (split), in three (whole), or what is"
        " faster in a short measurement (auto; on a CPU that is split)",
        choices=("auto", "split", "whole"),
    )
    checkpoint_activations: bool = option(
        False,
        help="keep only what enters each block of the backbone for back-propagation, and compute the rest again: less memory,"
        " a third forward pass, the same numbers",
    )
    compile: bool = option(
        False,
        help="compile backbones by torch.compile: minutes at the start of each phase; for GPUs, on a CPU it lost",
    )
    strips: int = option(
        2, help="mined examples of each class that small pictures are kept of, at most 4; 0 keeps none", ge=0, le=4
    )


@frozen(kw_only=True)
class Published:
    """A published number, shown beside the result that has what it says of `encoder`, `dataset` and `protocol`.

    Never part of a fingerprint.
    """

    metric: str
    value: float
    where: str
    encoder: str | None = None
    dataset: str | None = None
    protocol: str | None = None


@frozen(kw_only=True)
class Resolved:
    """A whole experiment, every default filled in. `phases` stand in the order in which they run."""

    name: str
    source: Path
    seed: int
    train_on: str
    datasets: dict[str, Dataset]
    roots: dict[str, Path | None] = field(factory=dict)
    views: dict[str, View]
    phases: tuple[Phase, ...]
    evaluate: dict[str, Evaluator]
    published: tuple[Published, ...] = ()
    launch: Launch = field(factory=Launch)
    cards: Mapping[str, str] = field(factory=dict)
    """The card that each component came from, by the key path of its table: `backbone`, `phase.rgb.miner`."""
    places: Mapping[tuple[str | int, ...], Place] = field(factory=dict, eq=False, repr=False)
    """Where each key was written, for messages."""
    warnings: tuple[Problem, ...] = field(default=(), eq=False)
    """What looks wrong and does not stop a run."""

    def phase(self, name: str) -> Phase:
        """The phase called `name`; KeyError if there is none."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(name)

    def mining_view(self, phase: Phase) -> str | None:
        """The view in which `phase` is mined for: that of the phase it mines with."""
        return self.phase(phase.mine_with).views[0] if phase.mine_with else None

    def views_of(self, phase: Phase) -> tuple[str, ...]:
        """Every view whose clips `phase` reads: those that learn, then the mining one."""
        mining = self.mining_view(phase)
        return tuple(dict.fromkeys([*phase.views, *([mining] if mining else [])]))
