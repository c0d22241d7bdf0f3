"""The ledger: which videos were mined for which, over an epoch.

The loop adds every mining step (gathered over ranks, in the epoch's global order); `finish` has the epoch judged by labels
no miner sees (judging.py) and gives its `MiningTable`. Where a framework mines in several directions, the ledger keeps a
book of each, and the table is about their union. State goes into a checkpoint, so that an epoch resumed half-way counts
whole.

A miner that takes every row of a class (UberNCE) gives a column for each row of the bank and leaves nearly all of them empty.
Of such picks the ledger keeps those that are there, moved left, and the column that each stood in.

Legend: N queries of a step, M queries of an epoch, P picks of a query, W columns of a step, V videos of the data set, R queries
of a step that the table may show, S stages of the miner, f the picks of a step that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
from attrs import define, field, frozen
from numpy.typing import ArrayLike, NDArray

from cprspec.errors import CprspecError, Problem
from cprspec.mining.picks import RANKS_SHOWN
from cprspec.training.examples import Candidates, Sample
from cprspec.training.judging import LABELS_NEEDED, Facts, Ints, judge
from cprspec.training.mining_table import Direction, MiningTable

__all__ = ["LABELS_NEEDED", "Ledger"]

_PARTS = ("query_M", "selected_MP", "counts")
_LATER = ("example_E", "ranks_EPS", "column_MP", "width")
"""Parts that checkpoints of earlier versions lack; `column_MP` is empty where picks stand in their own columns."""

WORTH_MOVING = 64
"""Picks with fewer columns are kept as they are."""

RanksOf = Callable[[Ints], ArrayLike]
"""For R rows of a step, where their first picks stood at each stage, `[R,P,S]`; see mining/picks.stage_ranks."""


@frozen(eq=False)
class _Joined:
    """The epoch so far: what each query selected (-1: none), and which of `width` columns each pick stood in."""

    query_M: Ints
    selected_MP: Ints
    column_MP: Ints
    width: int


@define
class _Book:
    """The picks of one direction in the epoch so far, of `entered` queries; `counts` are its stages' counts, added up.

    `columns` of a step are those of its picks, None where nothing was moved; `width` is the most that a step had.
    """

    candidates: Candidates
    queries: list[Ints] = field(factory=list)
    picks: list[Ints] = field(factory=list)
    columns: list[Ints | None] = field(factory=list)
    width: int = 0
    counts: Ints | None = None
    entered: int = 0

    def add(self, query_N: Ints, selected_NW: Ints, counts: Ints | None) -> None:
        self.keep(query_N, *moved_left(selected_NW), selected_NW.shape[1])
        if counts is not None:
            self.counts = counts.copy() if self.counts is None else self.counts + counts

    def keep(self, query_N: Ints, selected_NP: Ints, column_NP: Ints | None, width: int) -> None:
        self.queries.append(query_N)
        self.picks.append(selected_NP)
        self.columns.append(column_NP)
        self.width = max(self.width, width)
        self.entered += len(query_N)

    @property
    def moved(self) -> bool:
        """Whether some picks stand elsewhere than where they stood."""
        return any(column_NP is not None for column_NP in self.columns)

    def joined(self) -> _Joined:
        query_M = np.concatenate([np.zeros(0, np.int64), *self.queries])
        most = max((selected_NP.shape[1] for selected_NP in self.picks), default=0)
        selected_MP = _stacked(self.picks, most)
        own_MP = np.broadcast_to(np.arange(most), selected_MP.shape)
        if not self.moved:
            return _Joined(query_M, selected_MP, own_MP, self.width)
        columns = [
            own_MP[: len(selected_NP), : selected_NP.shape[1]] if column_NP is None else column_NP
            for selected_NP, column_NP in zip(self.picks, self.columns, strict=True)
        ]
        return _Joined(query_M, selected_MP, _stacked(columns, most), self.width)


class Ledger:
    """Collects the picks of one epoch at a time.

    `label_V` (-1: unknown) and `source_V` describe every video of the data set, `split_ids` the usable training videos.
    `classes` and `names` are only for the table's text. `examples` is the number of example queries kept per class.
    `directions`: what is mined for and the view that mines, where a framework mines more than once; each is then added
    for the same queries in the same order.
    """

    def __init__(
        self,
        label_V: ArrayLike,
        source_V: ArrayLike,
        split_ids: ArrayLike,
        classes: Sequence[str] = (),
        *,
        names: Sequence[str] = (),
        phase: str = "",
        dataset: str = "",
        examples: int = 4,
        directions: Mapping[str, str] | None = None,
    ) -> None:
        usable_V = np.zeros(len(np.asarray(label_V)), bool)
        usable_V[np.asarray(split_ids, np.int64)] = True
        self._facts = Facts(
            np.asarray(label_V, np.int64), np.asarray(source_V, np.int64), usable_V, tuple(classes), tuple(names)
        )
        self._phase, self._dataset, self._sample = phase, dataset, Sample(examples)
        self._directions = dict(directions or {})
        self._clear()

    def _clear(self) -> None:
        self._books = {direction: _Book(Candidates(self._sample)) for direction in self._directions or ("",)}

    def add(
        self,
        query_N: ArrayLike,
        selected_NP: ArrayLike,
        counts: ArrayLike | None = None,
        *,
        direction: str = "",
        ranks: RanksOf | None = None,
    ) -> None:
        """One mining step: queries and their picks as video ids (-1: none; P may change), and its `stage_counts`.

        `ranks` is asked at once, and only for queries that the table may show; in all ranks' ledgers alike.
        """
        query, selected = np.asarray(query_N, np.int64), np.asarray(selected_NP, np.int64)
        if query.ndim != 1 or selected.ndim != 2 or len(query) != len(selected):
            raise ValueError(f"queries {query.shape} and selections {selected.shape} do not belong together")
        book = self._books[direction]
        first = book.entered
        book.add(query, selected, None if counts is None else np.asarray(counts, np.int64))
        row_R = book.candidates.next(self._facts.label_V[query], selected)
        if ranks is not None and len(row_R):
            ranks_RPS = np.asarray(ranks(row_R), np.int64)
            book.candidates.ranks |= {first + row: own for row, own in zip(row_R.tolist(), ranks_RPS, strict=True)}

    def finish(self, epoch: int) -> MiningTable:
        """The table of everything added since the last `finish`; the ledger is empty afterwards."""
        books = [*self._books.values()]
        joined = [book.joined() for book in books]
        tables = [
            self._judged(epoch, of_book, book.counts, book.candidates.ranks)
            for of_book, book in zip(joined, books, strict=True)
        ]
        if not self._directions:
            self._clear()
            return tables[0]
        counts = [book.counts for book in books if book.counts is not None]
        union = _union(joined)
        ranks = self._united_ranks([of_book.selected_MP for of_book in joined], union.selected_MP)
        table = self._judged(epoch, union, sum(counts[1:], counts[0]) if counts else None, ranks)
        found = tuple(
            Direction(view, mined_with, of_it)
            for (view, mined_with), of_it in zip(self._directions.items(), tables, strict=True)
        )
        self._clear()
        return attrs.evolve(table, directions=found)

    def _united_ranks(self, selected: Sequence[Ints], union_MP: Ints) -> dict[int, Ints]:
        """The ranks of the union's picks, of queries that are candidates in every direction."""
        books = [book.candidates.ranks for book in self._books.values()]
        united: dict[int, Ints] = {}
        for m in (m for m in books[0] if all(m in book for book in books)):
            parts, before = [], 0
            for book, selected_MP in zip(books, selected, strict=True):
                columns = np.flatnonzero(selected_MP[m] >= 0)
                known = columns[:RANKS_SHOWN]
                parts.append(book[m][: len(known)][union_MP[m, before + known] >= 0])
                if len(columns) > len(known):
                    break  # the ranks of what comes next are not known
                before += selected_MP.shape[1]
            united[m] = np.concatenate(parts)
        return united

    def _judged(self, epoch: int, joined: _Joined, counts: Ints | None, ranks: Mapping[int, Ints]) -> MiningTable:
        return judge(
            self._facts, joined.query_M, joined.selected_MP, joined.column_MP, counts,
            epoch=epoch, phase=self._phase, dataset=self._dataset, sample=self._sample, ranks=ranks,
        )  # fmt: skip

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Everything added so far, for a checkpoint."""
        state: dict[str, NDArray[np.int64]] = {}
        for direction, book in self._books.items():
            joined = book.joined()
            counts = np.zeros((0, 3), np.int64) if book.counts is None else book.counts
            kept = book.candidates.kept(self._facts.label_V[joined.query_M], joined.selected_MP)
            examples = np.array([*kept], np.int64), np.stack([*kept.values()] or [np.zeros((0, 0), np.int64)])
            columns = joined.column_MP if book.moved else np.zeros((0, 0), np.int64)
            values = joined.query_M, joined.selected_MP, counts, *examples, columns, np.array([joined.width])
            for part, value in zip((*_PARTS, *_LATER), values, strict=True):
                state[_key(direction, part)] = value
        return state

    def restore(self, state: dict[str, NDArray[np.int64]]) -> None:
        """Go on from what `state` gave."""
        missing = sorted({_key(direction, part) for direction in self._books for part in _PARTS} - set(state))
        if missing:
            raise CprspecError(Problem(f"the ledger's part of the checkpoint lacks {', '.join(missing)}"), exit_code=1)
        self._clear()
        for direction, book in self._books.items():
            query_M, selected_MP, counts = (state[_key(direction, part)] for part in _PARTS)
            example_E, ranks_EPS, column_MP, width = (
                state.get(_key(direction, part), np.zeros(0, np.int64)) for part in _LATER
            )
            if len(column_MP):
                book.keep(query_M, selected_MP, column_MP, int(width[0]))
            elif len(query_M):
                book.add(query_M, selected_MP, None)
            if len(counts):
                book.counts = np.asarray(counts, np.int64).copy()
            ranks = dict(zip(example_E.tolist(), ranks_EPS, strict=True)) if len(example_E) else {}
            book.candidates.restore(self._facts.label_V[query_M], selected_MP, ranks)


def moved_left(selected_NW: Ints) -> tuple[Ints, Ints | None]:
    """Picks `[N,P]` in their order without what all rows lack, and the column of each; as they are where that saves little."""
    if selected_NW.shape[1] < WORTH_MOVING:
        return selected_NW, None
    row_f, column_f = np.nonzero(selected_NW >= 0)
    found_N = np.bincount(row_f, minlength=len(selected_NW))
    most = int(found_N.max(initial=0))
    if 4 * most > selected_NW.shape[1]:  # columns are kept too
        return selected_NW, None
    place_f = np.arange(len(row_f)) - (found_N.cumsum() - found_N)[row_f]
    picks_NP, column_NP = np.full((2, len(selected_NW), most), -1, np.int64)
    picks_NP[row_f, place_f], column_NP[row_f, place_f] = selected_NW[row_f, column_f], column_f
    return picks_NP, column_NP


def _stacked(parts: Sequence[Ints], width: int) -> Ints:
    """Rows under rows, `[M,width]`, filled up with -1."""
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return np.concatenate([np.zeros((0, width), np.int64), *padded])


def _union(joined: Sequence[_Joined]) -> _Joined:
    """What was mined in any direction, the directions side by side, each video once."""
    before = np.cumsum([0, *(of_book.width for of_book in joined)]).tolist()
    columns = [of_book.column_MP + first for of_book, first in zip(joined, before, strict=False)]
    selected_MP = without_repeats(np.concatenate([of_book.selected_MP for of_book in joined], axis=1))
    return _Joined(joined[0].query_M, selected_MP, np.concatenate(columns, axis=1), before[-1])


def without_repeats(selected_MP: Ints) -> Ints:
    """`[M,P]` with -1 in place of every pick that stands further left in its row already."""
    repeated_MP = np.zeros(selected_MP.shape, bool)
    for p in range(1, selected_MP.shape[1]):
        repeated_MP[:, p] = (selected_MP[:, :p] == selected_MP[:, p : p + 1]).any(1)
    return np.where(repeated_MP, -1, selected_MP)


def _key(direction: str, part: str) -> str:
    return f"{direction}.{part}" if direction else part
