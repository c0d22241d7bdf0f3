"""Miners: who chooses positives in the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from cprspec.spec.by_epoch import ByEpoch
from cprspec.spec.kinds import Miner, option

if TYPE_CHECKING:
    from cprspec.learning.cascade import Cascade as CascadeMiner
    from cprspec.learning.cascade import LabelPick


@frozen(kw_only=True)
class Cascade(Miner):
    """Cascade positive retrieval (Wu et al., arXiv:2201.07989): keep a share by one view, look with the other, repeat.

    One stage is CoCLR's top-k in the mining view; `topk = 0` mines nothing and leaves siblings as the only positives.
    `topk = { 0 = 1, 40 = 3 }` is a schedule: 1 from epoch 0 of the phase, 3 from epoch 40 on (progressive training).
    """

    name: ClassVar[str] = "cascade"
    stages: int = option(7, help="number of stages; odd ones score the mining view, even ones the trained view", ge=1)
    ratio: float = option(0.5, help="share of the bank kept by each stage, to the power of the stage", gt=0, le=1)
    topk: int | ByEpoch = option(5, help="positives mined for each query; by epoch as a table: { 0 = 1, 40 = 3 }", ge=0)

    def build(self) -> CascadeMiner:
        """The miner as a callable; see learning/cascade.py."""
        from cprspec.learning.cascade import Cascade as CascadeMiner

        return CascadeMiner(stages=self.stages, ratio=self.ratio, topk=_of_one_epoch(self.topk))


@frozen(kw_only=True)
class Labels(Miner):
    """The label-mining reference: rows of the query's own class, so not self-supervised.

    With `topk` as many of them at random as the other miners choose (oracle); with `topk = 0` all of them (UberNCE).
    """

    name: ClassVar[str] = "labels"
    by_labels: ClassVar[bool] = True
    topk: int | ByEpoch = option(
        5, help="true positives chosen at random for each query, 0 takes all; by epoch: { 0 = 1, 40 = 3 }", ge=0
    )

    def build(self) -> LabelPick:
        """The miner as a callable; see learning/cascade.py."""
        from cprspec.learning.cascade import LabelPick

        return LabelPick(topk=_of_one_epoch(self.topk))


def _of_one_epoch(value: int | ByEpoch) -> int:
    """A plain number; a miner that goes by epoch is built for one: `miner.at(epoch).build()`."""
    if isinstance(value, ByEpoch):
        raise TypeError("this miner goes by epoch: build miner.at(epoch)")
    return value


COMPONENTS = (Cascade, Labels)
