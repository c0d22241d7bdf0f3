"""What a living run does where it does not train: preparing, evaluating, saving, waiting, stopping; in a word, and in full."""

from __future__ import annotations

from attrs import frozen

from cprspec.errors import clean
from cprspec.runs import events
from cprspec.runs.layout import RunDir
from cprspec.runs.rank_state import EVALUATE, SAVE, START, STEP, WAIT, stage_words
from cprspec.runs.ranks import RankHealth, read_rank
from cprspec.runs.summary import Status
from cprspec.runs.watch import preparing_words

LONG_S = 5.0
"""Of what a step is made of, only what has lasted so long is worth a word."""

_STAGES = {START: "starting", WAIT: "waiting", SAVE: "saving", EVALUATE: "evaluating"}


@frozen
class Doing:
    """`word`: for a list; `words`: in full; `since_s`: how long it has lasted, None where that is not known."""

    word: str
    words: str
    since_s: float | None = None


def doing(run: RunDir, status: Status, evaluation: events.EvaluationStarted | events.Evaluating | None) -> Doing | None:
    """What `run` does beside training, from its last event and rank 0's sign of life; None while it trains, or is over."""
    if status.state != "running":
        return None
    if run.stop_requested.exists():
        return Doing("stopping", "asked to stop: it finishes what it is at, saves and ends")
    if status.preparing is not None:
        return Doing("preparing", f"preparing videos: {preparing_words(status.preparing)}")
    rank = read_rank(run, 0, [])
    if rank is not None and rank.pid != status.pid:
        rank = None  # of an attempt before
    since_s = rank.stage_s if rank else None
    if evaluation is not None:
        return Doing("evaluating", _evaluation_words(evaluation), since_s if rank and rank.stage == EVALUATE else None)
    return _of_rank(rank) if rank is not None else None


def _of_rank(rank: RankHealth) -> Doing | None:
    if rank.peers and (rank.peers_s or 0.0) >= LONG_S:
        return Doing("waiting", "waiting for the other ranks", rank.peers_s)
    word = _STAGES.get(rank.stage or STEP)
    if word is None or (rank.stage in {WAIT, SAVE} and (rank.stage_s or 0.0) < LONG_S):
        return None
    words = stage_words(rank.stage or STEP, peers=False)
    return Doing(word, f"{words}: {rank.file}" if rank.file and rank.stage == WAIT else words, rank.stage_s)


def _evaluation_words(evaluation: events.EvaluationStarted | events.Evaluating) -> str:
    words = f"evaluating {clean(evaluation.name, 60)}"
    if isinstance(evaluation, events.Evaluating):
        words += f", {clean(evaluation.encoder, 60)}: {evaluation.epoch + 1} of {evaluation.of} epochs"
    return words
