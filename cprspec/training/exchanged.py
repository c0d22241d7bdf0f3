"""What ranks exchange in an optimiser step, in bytes, as a function of ranks, batch, clip, embedding and miner; no torch.

A rank *hands* so many bytes to a collective; how many *leave* it follows from what the collective is and from the number of
ranks. docs/scaling.md draws the conclusions. tests/training/test_exchanged.py counts in a real run of two ranks: what training
exchanges and these formulas cannot drift apart.

"Clips" are those of one rank in an optimiser step, all its micro-batches together.
"""

from __future__ import annotations

from attrs import frozen

from cprspec.components import frameworks, miners
from cprspec.spec.kinds import Miner
from cprspec.spec.schema import Phase, Resolved
from cprspec.video.clips import clip_bytes

ALL_REDUCE, ALL_GATHER, ALL_TO_ALL = "all_reduce", "all_gather", "all_to_all"

FLOAT, INT = 4, 8
"""Bytes of a number: embeddings and gradients are float32 whatever the precision, ids and counts int64."""

AGREEMENT = 6 * FLOAT + 2 * INT
"""Loss, own keys, spread, bad clips, two costs of data (training/loop.train_step); then whether to save and whether to stop."""

SHOWN_PICKS = 10
"""Picks of an example whose ranks are gathered (mining/picks.RANKS_SHOWN, which torch comes with)."""


@frozen
class Exchange:
    """`what` is exchanged by a collective, `handed` bytes of it by each rank in an optimiser step."""

    what: str
    how: str
    handed: int

    def sent(self, world: int) -> float:
        """Bytes that leave a rank, of `world`: on average over permutations where rows are shuffled."""
        others = world - 1
        return self.handed * {ALL_REDUCE: 2 * others / world, ALL_GATHER: others, ALL_TO_ALL: others / world}[self.how]


def step_exchanges(
    resolved: Resolved, phase: Phase, world: int, parameters: int, videos: int | None = None
) -> tuple[Exchange, ...] | None:
    """What each of `world` ranks hands over in a step that mines; `parameters` are those of the phase's encoder.

    None where the batch does not divide, for a miner of a plugin, and where it depends on how many training `videos` there are
    and that is not known. Left out, since it depends on what is mined: `example_bytes` for each example.
    """
    clips, rest = divmod(phase.batch_size, world)
    if rest or clips % phase.accumulate:
        return None
    match phase.framework:
        case frameworks.MoCo() as moco:
            rows: int | None = moco.queue_size
            taken_in, seen = _moco(resolved, phase, moco)
            shuffled = _shuffled(phase, moco, clips)
        case frameworks.IIC() as iic:
            rows, (taken_in, seen), shuffled = videos, _iic(phase, iic), ()
        case _:
            return None
    exchanges = [Exchange("gradients", ALL_REDUCE, FLOAT * parameters), *shuffled]
    exchanges += [Exchange("bank", ALL_GATHER, clips * taken_in)]
    if phase.miner is not None:
        picks = _picks(phase, rows)
        if picks is None:
            return None
        counts = phase.accumulate * 3 * (stages(phase.miner) + 1) * INT
        directions = phase.framework.views_per_phase
        exchanges.append(Exchange("ledger", ALL_GATHER, directions * (clips * (1 + picks) * INT + counts)))
        if resolved.launch.replay:
            exchanges.append(Exchange("recording", ALL_GATHER, clips * seen))
    return (*exchanges, Exchange("agreement", ALL_REDUCE, AGREEMENT))


def example_bytes(miner: Miner) -> int:
    """What each rank hands over for a query that the mining table may show: its picks' ranks at each stage."""
    return SHOWN_PICKS * stages(miner) * INT


def stages(miner: Miner) -> int:
    """How many stages `miner` has; one where it picks by labels."""
    return miner.stages if isinstance(miner, miners.Cascade) else 1


def _shuffled(phase: Phase, options: frameworks.MoCo, clips: int) -> tuple[Exchange, ...]:
    """Key clips go to the rank that normalises them, and their keys come back."""
    return (
        Exchange("key clips", ALL_TO_ALL, clips * clip_bytes(phase.clip)),
        Exchange("keys back", ALL_TO_ALL, clips * FLOAT * options.embedding),
    )


def _moco(resolved: Resolved, phase: Phase, options: frameworks.MoCo) -> tuple[int, int]:
    """Of a clip, bytes that the bank of every rank takes in, and that are recorded for `cprspec mine`."""
    key = FLOAT * options.embedding
    mining = FLOAT * resolved.phase(phase.mine_with).framework.head if phase.mine_with else 0
    video, source, query = INT, INT, key
    return key + mining + video + source, query + key + mining + video


def _iic(phase: Phase, options: frameworks.IIC) -> tuple[int, int]:
    """The same of a clip in two views: its row, and its features in as many banks as there are."""
    feature, row = FLOAT * phase.backbone.feature_size, INT
    banks = 2 if options.intra_negative == "none" else 3
    return banks * feature + row, 2 * feature + row


def _picks(phase: Phase, rows: int | None) -> int | None:
    """How many bank rows of `rows` are gathered for a query: places for all where a label miner takes all of a class.

    None for a miner of a plugin: only it knows.
    """
    if not isinstance(phase.miner, miners.Cascade | miners.Labels):
        return None
    topk = phase.miner.topk
    picks = topk if isinstance(topk, int) else max(topk.values)
    return rows if picks == 0 and phase.miner.by_labels else picks
