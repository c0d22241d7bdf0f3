"""Miners: who chooses positives in the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from cprspec.spec.kinds import Miner, option

if TYPE_CHECKING:
    from cprspec.learning.cascade import Cascade as CascadeMiner
    from cprspec.learning.cascade import LabelPick


@frozen(kw_only=True)
class Cascade(Miner):
    """Cascade positive retrieval (Wu et al., arXiv:2201.07989): keep a share by one view, look with the other, repeat.

    One stage is CoCLR's top-k in the mining view; `topk = 0` mines nothing and leaves siblings as the only positives.
    """

    name: ClassVar[str] = "cascade"
    stages: int = option(7, help="number of stages; odd ones score the mining view, even ones the trained view", ge=1)
    ratio: float = option(0.5, help="share of the bank kept by each stage, to the power of the stage", gt=0, le=1)
    topk: int = option(5, help="positives mined for each query", ge=0)

    def build(self) -> CascadeMiner:
        """The miner as a callable; see learning/cascade.py."""
        from cprspec.learning.cascade import Cascade as CascadeMiner

        return CascadeMiner(stages=self.stages, ratio=self.ratio, topk=self.topk)


@frozen(kw_only=True)
class Labels(Miner):
    """The label-mining reference: rows of the query's own class, so not self-supervised.

    With `topk` as many of them at random as the other miners choose (oracle); with `topk = 0` all of them (UberNCE).
    """

    name: ClassVar[str] = "labels"
    by_labels: ClassVar[bool] = True
    topk: int = option(5, help="true positives chosen at random for each query; 0 takes all", ge=0)

    def build(self) -> LabelPick:
        """The miner as a callable; see learning/cascade.py."""
        from cprspec.learning.cascade import LabelPick

        return LabelPick(topk=self.topk)


COMPONENTS = (Cascade, Labels)
