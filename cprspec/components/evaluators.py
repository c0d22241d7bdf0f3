"""Evaluators: what is measured after training."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import Evaluator, option


@frozen(kw_only=True)
class Retrieval(Evaluator):
    """Nearest-neighbour video retrieval: a test video finds training videos of its class (CoCLR's protocol).

    Features are pooled, each split is centred by its own mean and L2-normalised; reported are R@k, mAP and both per view.
    `a+b` joins two encoders by adding their cosine matrices.
    """

    name: ClassVar[str] = "retrieval"
    encoders: tuple[str, ...] = option(
        (),
        help="phases, `random`, or two of them joined as `a+b`; none means every phase, their views joined, and random",
    )
    datasets: tuple[str, ...] = option((), help="data sets to search in; none means the one that phases train on")
    protocol: str = option(
        "default",
        help="`default`: every window of every video, no jitter; `coclr`: one random gallery clip and jitter, by seed",
        choices=("default", "coclr"),
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


COMPONENTS = (Retrieval, Embeddings)
