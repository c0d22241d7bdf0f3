"""Evaluators: what is measured after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import PRECISIONS, Evaluator, option

_PRECISION = "of the encoders; bf16, for processors that gain from it, changes features in the third digit"


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
    precision: str = option("float32", help=_PRECISION, choices=PRECISIONS)


@frozen(kw_only=True)
class Embeddings(Evaluator):
    """The pooled feature of every video, mean over its windows, in evaluations/NAME.safetensors. Needs no labels."""

    name: ClassVar[str] = "embeddings"
    needs_labels: ClassVar[bool] = False
    needs_test_split: ClassVar[bool] = False
    encoders: tuple[str, ...] = option((), help="phases, or `random`; none means every phase and random")
    datasets: tuple[str, ...] = option((), help="data sets to embed; none means the one that phases train on")
    precision: str = option("float32", help=_PRECISION, choices=PRECISIONS)


@frozen(kw_only=True)
class Linear(Evaluator):
    """Recognition by a linear layer trained on the stored feature of every video; encoders stay as they are.

    The head is L2 normalisation, batch norm, linear, as CoCLR's probe has it; the last epoch counts. `a+b` joins two
    encoders by averaging their class probabilities.
    """

    name: ClassVar[str] = "linear"
    trains: ClassVar[bool] = True
    encoders: tuple[str, ...] = option(
        (),
        help="phases, `random`, or two of them joined as `a+b`; none means every phase, their views joined, and random",
    )
    datasets: tuple[str, ...] = option((), help="data sets to recognise; none means the one that phases train on")
    l2: bool = option(True, help="normalise features to unit length")
    batch_norm: bool = option(True, help="batch norm between feature and linear layer")
    epochs: int = option(100, help="passes over the training videos", ge=1)
    batch_size: int = option(1024, help="largest number of videos in a step; for 2 and batch norm, 3", ge=2)
    lr: float = option(1.0, help="learning rate", gt=0)
    momentum: float = option(0.9, help="share of the last step that is kept", ge=0, lt=1)
    weight_decay: float = option(1e-3, help="L2 term", ge=0)
    milestones: tuple[int, ...] = option((60, 80), help="epochs at which the learning rate falls")
    gamma: float = option(0.1, help="factor at each milestone", gt=0, le=1)
    precision: str = option("float32", help=_PRECISION, choices=PRECISIONS)

    @property
    def method(self) -> str:
        """What records call the way of training and testing."""
        return "linear-features" if self.precision == "float32" else f"linear-features-{self.precision}"


@frozen(kw_only=True)
class Classifier(Evaluator):
    """Recognition by a classifier trained end to end on the data set's training videos, and tested on whole videos.

    `train = "all"` fine-tunes the encoder too; `train = "head"` leaves it as it is (a linear probe on augmented clips). One
    classifier is trained for each encoder; `a+b` averages the class probabilities of two; `random` is training from scratch.
    Without `validation` the last epoch is tested: published code chooses the best epoch on the test videos.
    """

    name: ClassVar[str] = "classifier"
    trains: ClassVar[bool] = True
    encoders: tuple[str, ...] = option(
        (),
        help="phases, `random`, or two of them joined as `a+b`; none means every phase, their views joined, and random",
    )
    datasets: tuple[str, ...] = option((), help="data sets to recognise; none means the one that phases train on")
    train: str = option("all", help="what learns: everything, or the head alone", choices=("all", "head"))
    l2: bool = option(False, help="normalise features to unit length")
    batch_norm: bool = option(False, help="batch norm between feature and linear layer")
    dropout: float = option(0.9, help="share of the feature that is dropped in training", ge=0, lt=1)
    optimizer: str = option("adam", help="how weights are updated", choices=("adam", "sgd"))
    lr: float = option(1e-3, help="learning rate of the head", gt=0)
    backbone_lr: float = option(0.1, help="learning rate of the backbone, as a factor on the head's", ge=0)
    momentum: float = option(0.9, help="of sgd: share of the last step that is kept", ge=0, lt=1)
    weight_decay: float = option(1e-3, help="L2 term", ge=0)
    epochs: int = option(500, help="passes over the training videos", ge=1)
    batch_size: int = option(64, help="clips in a step, over all ranks", ge=2)
    milestones: tuple[int, ...] = option((400, 450), help="epochs at which the learning rate falls")
    gamma: float = option(0.1, help="factor whenever the learning rate falls", gt=0, le=1)
    validation: int = option(
        0, help="training videos held out; the epoch with their lowest loss is tested. 0: none, the last epoch", ge=0
    )
    patience: int = option(
        0,
        help="epochs without a validation loss lower by a ten-thousandth before the learning rate falls; 0: it falls at"
        " milestones",
        ge=0,
    )
    least_lr: float = option(0.0, help="the learning rate of the head does not fall below this", ge=0)
    augment: str = option(
        "downstream",
        help="of training clips: CoCLR's for recognition, or the phase's own, where the encoder was trained",
        choices=("downstream", "phase"),
    )
    jitter: float = option(0.3, help="of `downstream`: probability of colour jitter", ge=0, le=1)
    min_area: float = option(0.2, help="of `downstream`: smallest share of the frame that a crop covers", gt=0, le=1)
    flip: float | None = option(None, help="probability of mirroring (default: as in the encoder's phase)", ge=0, le=1)
    frames: int | None = option(None, help="frames in a clip (default: as in the encoder's phase)", ge=1)
    stride: int | None = option(None, help="video frames from one clip frame to the next (default: as there)", ge=1)
    size: int | None = option(None, help="height and width of a clip, pixels (default: as there)", ge=8)
    rescale: bool = option(True, help="of views of frame differences: into 0 to 1; IIC fine-tunes without")
    crops: str = option(
        "ten",
        help="test crops: the centre; also the four corners; also these five mirrored",
        choices=("centre", "five", "ten"),
    )
    windows: str = option(
        "all",
        help="test clips of a video: every window, or ten evenly spaced ones and IIC's size of crop",
        choices=("all", "ten"),
    )
    mean_of: str = option(
        "probabilities", help="what is averaged over a video's clips", choices=("probabilities", "scores")
    )
    protocol: str = option(
        "default", help="`coclr` jitters the colours of test clips, by seed", choices=("default", "coclr")
    )

    @property
    def method(self) -> str:
        """What records call the way of training and testing, such as `finetune-ten-crop`."""
        way = "finetune" if self.train == "all" else "probe"
        clips = "" if self.windows == "all" else "-ten-clip"
        published = "-coclr" if self.protocol == "coclr" else ""
        return f"{way}{clips}-{self.crops}-crop{published}"


COMPONENTS = (Retrieval, Embeddings, Linear, Classifier)
