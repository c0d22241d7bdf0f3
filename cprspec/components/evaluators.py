"""Evaluators: what is measured after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import Evaluator, option


@frozen(kw_only=True)
class Retrieval(Evaluator):
    """Nearest-neighbour video retrieval: a test video finds training videos of its class.

    CoCLR's protocol: features are pooled, each split is centred by its own mean and L2-normalised, and `a+b` adds two
    encoders' cosines. IIC's: ten clips, the flattened map before pooling, no centring, and `a+b` is one long feature.
    """

    name: ClassVar[str] = "retrieval"
    encoders: tuple[str, ...] = option(
        (),
        help="phases, `random`, or two of them joined as `a+b`; none means every phase, their views joined, and random",
    )
    datasets: tuple[str, ...] = option(
        (), help="data sets whose test videos are the queries; none means the one that phases train on"
    )
    gallery: str | None = option(
        None, help="the data set whose training videos are searched (default: the queries' own)"
    )
    classes: Mapping[str, str] | None = option(
        None, help="what the gallery calls a class of the queries, where it does not have the same name"
    )
    protocol: str = option(
        "default",
        help="`default`: every window, no jitter; `coclr`: one random gallery clip and jitter, by seed; `iic`: IIC's",
        choices=("default", "coclr", "iic"),
    )
    k: tuple[int, ...] = option((1, 5, 10, 20, 50), help="how many neighbours count")


@frozen(kw_only=True)
class Embeddings(Evaluator):
    """The pooled feature of every video, mean over its windows, in evaluations/NAME.safetensors. Needs no labels."""

    name: ClassVar[str] = "embeddings"
    needs_labels: ClassVar[bool] = False
    needs_test_split: ClassVar[bool] = False
    encoders: tuple[str, ...] = option((), help="phases, or `random`; none means every phase and random")
    datasets: tuple[str, ...] = option((), help="data sets to embed; none means the one that phases train on")


@frozen(kw_only=True)
class Linear(Evaluator):
    """Recognition by a linear layer trained on the stored feature of every video; encoders stay as they are.

    The head is L2 normalisation, batch norm, linear, as CoCLR's probe has it; the last epoch counts. `a+b` joins two
    encoders by averaging their class probabilities.
    """

    name: ClassVar[str] = "linear"
    encoders: tuple[str, ...] = option(
        (),
        help="phases, `random`, or two of them joined as `a+b`; none means every phase, their views joined, and random",
    )
    datasets: tuple[str, ...] = option((), help="data sets to recognise; none means the one that phases train on")
    l2: bool = option(True, help="normalise features to unit length")
    batch_norm: bool = option(True, help="batch norm between feature and linear layer")
    epochs: int = option(100, help="passes over the training videos", ge=1)
    batch_size: int = option(1024, help="largest number of videos in a step", ge=2)
    lr: float = option(1.0, help="learning rate", gt=0)
    momentum: float = option(0.9, help="share of the last step that is kept", ge=0, lt=1)
    weight_decay: float = option(1e-3, help="L2 term", ge=0)
    milestones: tuple[int, ...] = option((60, 80), help="epochs at which the learning rate falls")
    gamma: float = option(0.1, help="factor at each milestone", gt=0, le=1)

    @property
    def protocol(self) -> str:
        """What records call it."""
        return "linear-features"


COMPONENTS = (Retrieval, Embeddings, Linear)
