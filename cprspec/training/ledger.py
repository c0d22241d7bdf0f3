"""The ledger: which videos were mined for which, over an epoch.

The loop adds every mining step (gathered over ranks, in the epoch's global order); `finish` has the epoch judged by labels
no miner sees (judging.py) and gives its `MiningTable`. Where a framework mines in several directions, the ledger keeps a
book of each, and the table is about their union. State goes into a checkpoint, so that an epoch resumed half-way counts
whole.

Legend: N queries of a step, M queries of an epoch, P picks of a query, V videos of the data set, R queries of a step that
the table may show, S stages of the miner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from cprspec.errors import CprspecError, Problem
from cprspec.mining.picks import RANKS_SHOWN
from cprspec.training.examples import Candidates, Sample
from cprspec.training.judging import LABELS_NEEDED, Facts, Ints, judge
from cprspec.training.mining_table import Direction, MiningTable

__all__ = ["LABELS_NEEDED", "Ledger"]

_PARTS = ("query_M", "selected_MP", "counts")
_EXAMPLES = ("example_E", "ranks_EPS")
"""The same, in checkpoints of this version on."""

RanksOf = Callable[[Ints], ArrayLike]
"""For R rows of a step, where their first picks stood at each stage, `[R,P,S]`; see mining/picks.stage_ranks."""


@define
class _Book:
    """The picks of one direction in the epoch so far, of `entered` queries; `counts` are its stages' counts, added up."""

    candidates: Candidates
    queries: list[Ints] = field(factory=list)
    picks: list[Ints] = field(factory=list)
    counts: Ints | None = None
    entered: int = 0

    def add(self, query_N: Ints, selected_NP: Ints, counts: Ints | None) -> None:
        self.queries.append(query_N)
        self.picks.append(selected_NP)
        self.entered += len(query_N)
        if counts is not None:
            self.counts = counts.copy() if self.counts is None else self.counts + counts

    def joined(self) -> tuple[Ints, Ints]:
        """Queries `[M]` and picks `[M,P]` of the epoch."""
        width = max((p.shape[1] for p in self.picks), default=0)
        padded = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in self.picks]
        if not padded:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
        return np.concatenate(self.queries), np.concatenate(padded)


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
        tables = {
            direction: self._judged(epoch, *book.joined(), book.counts, book.candidates.ranks)
            for direction, book in self._books.items()
        }
        if not self._directions:
            self._clear()
            return tables[""]
        joined = [book.joined() for book in self._books.values()]
        counts = [book.counts for book in self._books.values() if book.counts is not None]
        query_M = joined[0][0]
        union_MP = without_repeats(np.concatenate([selected_MP for _, selected_MP in joined], axis=1))
        ranks = self._united_ranks([selected_MP for _, selected_MP in joined], union_MP)
        table = self._judged(epoch, query_M, union_MP, sum(counts[1:], counts[0]) if counts else None, ranks)
        found = tuple(Direction(view, self._directions[view], of_it) for view, of_it in tables.items())
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

    def _judged(
        self, epoch: int, query_M: Ints, selected_MP: Ints, counts: Ints | None, ranks: Mapping[int, Ints]
    ) -> MiningTable:
        return judge(
            self._facts, query_M, selected_MP, counts,
            epoch=epoch, phase=self._phase, dataset=self._dataset, sample=self._sample, ranks=ranks,
        )  # fmt: skip

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Everything added so far, for a checkpoint."""
        state: dict[str, NDArray[np.int64]] = {}
        for direction, book in self._books.items():
            query_M, selected_MP = book.joined()
            counts = np.zeros((0, 3), np.int64) if book.counts is None else book.counts
            kept = book.candidates.kept(self._facts.label_V[query_M], selected_MP)
            examples = np.array([*kept], np.int64), np.stack([*kept.values()] or [np.zeros((0, 0), np.int64)])
            for part, value in zip((*_PARTS, *_EXAMPLES), (query_M, selected_MP, counts, *examples), strict=True):
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
            if len(query_M):
                book.add(query_M, selected_MP, None)
            if len(counts):
                book.counts = np.asarray(counts, np.int64).copy()
            example_E, ranks_EPS = (state.get(_key(direction, part), np.zeros(0, np.int64)) for part in _EXAMPLES)
            ranks = dict(zip(example_E.tolist(), ranks_EPS, strict=True)) if len(example_E) else {}
            book.candidates.restore(self._facts.label_V[query_M], selected_MP, ranks)


def without_repeats(selected_MP: Ints) -> Ints:
    """`[M,P]` with -1 in place of every pick that stands further left in its row already."""
    repeated_MP = np.zeros(selected_MP.shape, bool)
    for p in range(1, selected_MP.shape[1]):
        repeated_MP[:, p] = (selected_MP[:, :p] == selected_MP[:, p : p + 1]).any(1)
    return np.where(repeated_MP, -1, selected_MP)


def _key(direction: str, part: str) -> str:
    return f"{direction}.{part}" if direction else part
