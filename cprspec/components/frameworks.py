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
    bank_precision: str = option(
        "float32",
        help="how the queue's embeddings are kept: float32, or bf16 in half the memory; scores are float32 either way",
        choices=("float32", "bf16"),
        added_later=True,
    )

    @property
    def head(self) -> int:
        """The head is dropped for downstream tasks."""
        return self.embedding


@frozen(kw_only=True)
class IIC(Framework):
    """Inter-intra contrast (Tao et al., ACM MM 2020): two views of a clip against memory banks of all training videos.

    One encoder sees both views; its pooled feature is contrasted, without a head. Intra-negatives are clips without their
    motion. With a miner, positives are mined in the banks (IIC + CPR). Settings and losses: IIC's public code.
    """

    name: ClassVar[str] = "iic"
    views_per_phase: ClassVar[int] = 2
    clips_per_video: ClassVar[int] = 1
    brings_banks: ClassVar[bool] = True
    networks: ClassVar[int] = 1

    negatives: int = option(1024, help="bank rows drawn as negatives of each clip, in each view", ge=1)
    temperature: float = option(0.07, help="softmax temperature", gt=0)
    momentum: float = option(0.5, help="share of itself that a bank row keeps when its video is seen", ge=0, lt=1)
    intra_negative: str = option(
        "repeat",
        help="what a clip of the first view is told from besides: one frame repeated, two quarters exchanged, or nothing",
        choices=("repeat", "shuffle", "none"),
    )
    loss: str = option(
        "softmax",
        help="softmax over the columns, or noise-contrastive estimation with a constant Z",
        choices=("softmax", "constant_z"),
    )
    start_epoch: int = option(1, help="first epoch in which a phase with a miner mines", ge=0)
    bn_groups: int = option(1, help="groups in which a batch is normalised, as that many GPUs would do it", ge=1)
    bank_precision: str = option(
        "float32",
        help="how the banks' rows are kept: float32, or bf16 in half the memory; scores are float32 either way",
        choices=("float32", "bf16"),
        added_later=True,
    )


COMPONENTS = (MoCo, IIC)
