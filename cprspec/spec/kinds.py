"""The kinds of component an experiment chooses from, and what the language of experiments may ask of each.

A component is a frozen, keyword-only attrs class derived from one of these. Class variables are facts of the method that
cross-checks use before anything runs; fields made by `option` are what an experiment may set. `build` is the one
door to torch, so it returns `Any` here, where torch is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from cprspec.spec.by_epoch import ByEpoch

PRECISIONS = ("float32", "bf16")
"""What networks may compute in."""


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
    in_fingerprint: bool = True,
    added_later: bool = False,
) -> Any:
    """A field of a component: default, bounds or allowed words, and the sentence that `cprspec components` shows.

    `in_fingerprint=False` marks facts of the machine (where files lie), which do not change what is learned;
    `added_later` an option whose default means what was done before it existed: at its default it is not in the
    fingerprint either, so that phases trained before are still recognised. Bounds are
    checked when an experiment is structured, so that every problem is found in one pass; see spec/structure.py.
    """
    metadata: Mapping[str, Any] = {
        "help": help, "ge": ge, "gt": gt, "le": le, "lt": lt, "choices": choices, "in_fingerprint": in_fingerprint,
        "added_later": added_later,
    }  # fmt: skip
    if isinstance(default, (list, dict, set)):
        raise TypeError("an option's default must be immutable: give a tuple")
    return attrs.field(default=default, metadata=dict(metadata))


def fields_of(cls: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    """The attrs fields of a component or of a table of the schema."""
    return tuple(attrs.fields(cls))


class Component:
    """Something an experiment can choose by name: `name` is how a card's `implements` calls it."""

    kind: ClassVar[str]
    name: ClassVar[str]


class Backbone(Component):
    """A clip `[N,C,T,H,W]` to a feature map `[N,feature_size,t,h,w]`. `build()` gives the torch module.

    `smallest`: the fewest frames, and the fewest pixels in height and width, that the network takes.
    """

    kind: ClassVar[str] = "backbone"
    smallest: ClassVar[tuple[int, int]] = (1, 1)

    @property
    def feature_size(self) -> int:
        """Channels of the feature map."""
        raise TypeError(f"{type(self).__name__} does not say its feature size")

    def build(self) -> Any:
        """The torch module."""
        raise TypeError(f"{type(self).__name__} cannot be built")


class Framework(Component):
    """What is contrasted with what: MoCo or IIC.

    `views_per_phase`: how many views one phase trains with; `clips_per_video`: how many clips of a video a step sees, in
    each view; `brings_banks`: whether it mines in banks of its own; `networks`: how many copies of the encoder it holds.
    """

    kind: ClassVar[str] = "framework"
    views_per_phase: ClassVar[int]
    clips_per_video: ClassVar[int]
    brings_banks: ClassVar[bool]
    networks: ClassVar[int]
    bn_groups: int = 1

    @property
    def head(self) -> int:
        """Size of the projection head's output that training adds to the backbone; 0 without a head."""
        return 0


class Miner(Component):
    """Chooses positives in the bank. `by_labels`: reads the labels of the training set (reference only)."""

    kind: ClassVar[str] = "miner"
    by_labels: ClassVar[bool] = False

    def at(self, epoch: int) -> Any:
        """This miner as it is in `epoch` of a phase, from 0: options that go by epoch are plain numbers in it."""
        going = {a.name: getattr(self, a.name) for a in fields_of(type(self))}
        now = {name: value.at(epoch) for name, value in going.items() if isinstance(value, ByEpoch)}
        return attrs.evolve(self, **now) if now else self  # type: ignore[misc]

    def build(self) -> Any:
        """The callable with the interface `mine(main_ND, aux_ND, bank_main_KD, bank_aux_KD, eligible_NK) -> Mined`."""
        raise TypeError(f"{type(self).__name__} cannot be built")


class Evaluator(Component):
    """Measures encoders after training. `needs_labels`, `needs_test_split`: what it asks of each data set it names.

    `trains`: it trains something on the labelled training videos, for so many `epochs`.
    """

    kind: ClassVar[str] = "evaluator"
    needs_labels: ClassVar[bool] = True
    needs_test_split: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    encoders: tuple[str, ...]
    datasets: tuple[str, ...]


class Dataset(Component):
    """Which videos exist. `build(root)` gives the `data.index.Index`; `embedded` ones make their own files."""

    kind: ClassVar[str] = "dataset"
    embedded: ClassVar[bool] = False
    root: str | None

    def build(self, root: Any) -> Any:
        """The index of the videos under `root` (a Path). Raises CprspecError where files do not fit."""
        raise TypeError(f"{type(self).__name__} cannot be built")

    def listed(self, root: Any) -> Any:
        """Every file it names under `root`, there or not (a list of `data.index.Entry`); None: those of its index."""
        return None

    def about(self) -> Any:
        """What it expects under its root and where people get it (a `data.survey.About`); None: the docstring says all."""
        return None

    def survey(self, root: Any) -> Any:
        """What is there under `root`, whole or not (a `data.survey.Survey`); None: what `build` reads is all there is."""
        return None


class View(Component):
    """What a clip is seen as.

    `reads`: which stored pictures it is made from, `rgb` or `flow`; `normalise`: how their bytes become the network's input.
    """

    kind: ClassVar[str] = "view"
    reads: ClassVar[str]
    normalise: str = "imagenet"


class Augment(Component):
    """How a training clip is varied."""

    kind: ClassVar[str] = "augment"


class Optimizer(Component):
    """How weights are updated. `build(parameters)` gives the torch optimiser."""

    kind: ClassVar[str] = "optimizer"
    lr: float

    def build(self, parameters: Any) -> Any:
        """The torch optimiser over `parameters`."""
        raise TypeError(f"{type(self).__name__} cannot be built")


class Schedule(Component):
    """The learning rate over the epochs of a phase, as a factor on the optimiser's."""

    kind: ClassVar[str] = "schedule"

    def factor(self, epoch: int, epochs: int) -> float:
        """The factor in `epoch` (from 0) of a phase of `epochs`."""
        raise TypeError(f"{type(self).__name__} has no factor")


KINDS: tuple[type[Component], ...] = (
    Backbone, Framework, Miner, Evaluator, Dataset, View, Augment, Optimizer, Schedule,
)  # fmt: skip
