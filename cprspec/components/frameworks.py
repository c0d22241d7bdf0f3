"""Frameworks: what is contrasted with what."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from cprspec.spec.kinds import Framework, option


@frozen(kw_only=True)
class MoCo(Framework):
    """Momentum contrast (He et al., CVPR 2020): a query encoder against the keys of a slowly moving copy, in a queue.

    Without mining this is InfoNCE; a phase with `mine_with` adds a frozen sampler of another view and mined positives
    (CoCLR, CPR). Settings and losses: CoCLR's public code.
    """

    name: ClassVar[str] = "moco"
    views_per_phase: ClassVar[int] = 1
    clips_per_video: ClassVar[int] = 2
    brings_banks: ClassVar[bool] = False
    networks: ClassVar[int] = 2

    embedding: int = option(128, help="size of the normalised embedding", ge=1)
    temperature: float = option(0.07, help="softmax temperature", gt=0)
    momentum: float = option(0.999, help="share of itself that the key encoder keeps in each step", ge=0, lt=1)
    queue_size: int = option(2048, help="clips in the queue; a multiple of the global batch", ge=1)
    bn_groups: int = option(
        1, help="groups in which a batch is normalised and keys are shuffled, as that many GPUs would do it", ge=1
    )
    loss: str = option(
        "log_of_sum",
        help="over several positives: -log of their summed softmax (CoCLR), or the mean of each one's -log (UberNCE)",
        choices=("log_of_sum", "mean_of_logs"),
    )
    drop_own_key: float = option(
        0.9, help="share of mined steps in which rows with other positives drop their own key as one", ge=0, le=1
    )
    siblings: str = option(
        "positive",
        help="clips of the query's own source in the queue: positives, or left out of the loss (mining phases only)",
        choices=("positive", "ignore"),
    )

    @property
    def head(self) -> int:
        """The head is dropped for downstream tasks."""
        return self.embedding


COMPONENTS = (MoCo,)
