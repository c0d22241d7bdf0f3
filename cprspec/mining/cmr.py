"""Class mining recall (CMR): what share of a class's instances a miner found at least once in an epoch.

For a class, CMR = distinct true positives selected by queries of that class / instances of the class among the usable
training videos. An instance is a source (the headline where classes have many) or a video. A selection is a true
positive when the classes agree and it does not come from the query's own source. Source: CPR (arXiv:2201.07989),
supplement; that the paper's instance is the source is inferred from its figures, all multiples of 1/18 on UCF101.

Legend: M queries of the epoch, P picks of a query, V videos of the data set, C classes, I instances, G groups of
queries of one class and one source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_NOBODY = -1
"""The source of a query that may find everything."""

_IMPOSSIBLE = 1e-300
"""Stands for a chance of zero inside a logarithm."""


@frozen(eq=False)
class ClassRecall:
    """CMR of every class. `recall_C` and `random_C` are nan where a class has too few sources to have one.

    `covered_C` instances were found out of `instances_C`; `random_C` is the expectation of a random miner that picks as
    often from every video outside the query's source.
    """

    recall_C: Floats
    random_C: Floats
    covered_C: Ints
    instances_C: Ints
    sources_C: Ints

    @property
    def median(self) -> float:
        """Median over the classes that have a CMR; nan if none has."""
        return _over_defined(np.median, self.recall_C)

    @property
    def mean(self) -> float:
        """Mean over the classes that have a CMR; nan if none has."""
        return _over_defined(np.mean, self.recall_C)

    @property
    def median_random(self) -> float:
        """Median over classes of the random miner's expectation; nan if no class has a CMR."""
        return _over_defined(np.median, self.random_C)

    @property
    def mean_random(self) -> float:
        """Mean over classes of the random miner's expectation; nan if no class has a CMR."""
        return _over_defined(np.mean, self.random_C)

    @property
    def perfect(self) -> int:
        """Number of classes of which every instance was found."""
        return int(((self.covered_C == self.instances_C) & ~np.isnan(self.recall_C)).sum())

    @property
    def defined(self) -> int:
        """Number of classes that have a CMR."""
        return int((~np.isnan(self.recall_C)).sum())

    @property
    def undefined(self) -> int:
        """Number of classes without a CMR: fewer than two usable sources."""
        return len(self.recall_C) - self.defined


def class_mining_recall(
    query_M: ArrayLike,
    selected_MP: ArrayLike,
    label_V: ArrayLike,
    instance_V: ArrayLike,
    *,
    source_V: ArrayLike | None = None,
    usable_V: ArrayLike | None = None,
    classes: int | None = None,
    own_counts: bool = False,
    least_sources: int = 2,
) -> ClassRecall:
    """CMR of one epoch in which query `query_M[m]` selected the videos `selected_MP[m]` (-1: none).

    `label_V` is the class of each video (-1: unknown, takes no part), `instance_V` what is counted (a source's or the
    video's own id), `source_V` what a query may not find (default: the instances), `usable_V` which videos can be
    mined at all (bool; default: all). Published variants of the measure: `own_counts` lets finds in the query's own
    source count, `least_sources = 1` gives a CMR to classes with a single source.
    """
    query_M, selected_MP = _ids(query_M), _ids(selected_MP)
    label_V, instance_V = _ids(label_V), _ids(instance_V)
    source_V = instance_V if source_V is None else _ids(source_V)
    usable_V = np.ones(len(label_V), bool) if usable_V is None else np.asarray(usable_V, bool)
    classes = max(int(label_V.max(initial=-1)) + 1, classes or 0)
    known_V = usable_V & (label_V >= 0)

    unit_V, unit_label_I = _number_pairs(label_V, instance_V, known_V)
    instances_C = np.bincount(unit_label_I, minlength=classes)
    sources_C = np.bincount(_number_pairs(label_V, source_V, known_V)[1], minlength=classes)

    hit_MP = true_positives(query_M, selected_MP, label_V, source_V, own_counts=own_counts)
    hit_MP &= usable_V[selected_MP]
    found_I = np.zeros(len(unit_label_I), bool)
    found_I[unit_V[selected_MP[hit_MP]]] = True
    covered_C = np.bincount(unit_label_I[found_I], minlength=classes)

    chance_I = _chance_of_being_found(query_M, selected_MP, label_V, source_V, usable_V, unit_V, own_counts)
    random_C = np.bincount(unit_label_I, weights=chance_I, minlength=classes)
    defined_C = (sources_C >= least_sources) & (instances_C > 0)
    return ClassRecall(
        recall_C=_share(covered_C, instances_C, defined_C),
        random_C=_share(random_C, instances_C, defined_C),
        covered_C=covered_C,
        instances_C=instances_C,
        sources_C=sources_C,
    )


def true_positives(
    query_M: ArrayLike, selected_MP: ArrayLike, label_V: ArrayLike, source_V: ArrayLike, *, own_counts: bool = False
) -> NDArray[np.bool_]:
    """Which selections `[M,P]` are of the query's class (both known) and, unless `own_counts`, from another source."""
    query_M1, selected_MP = _ids(query_M)[:, None], _ids(selected_MP)
    label_V, source_V = _ids(label_V), _ids(source_V)
    right_MP: NDArray[np.bool_] = (
        (selected_MP >= 0) & (label_V[query_M1] >= 0) & (label_V[query_M1] == label_V[selected_MP])
    )
    if not own_counts:
        right_MP &= source_V[query_M1] != source_V[selected_MP]
    return right_MP


def _chance_of_being_found(
    query_M: Ints,
    selected_MP: Ints,
    label_V: Ints,
    source_V: Ints,
    usable_V: NDArray[np.bool_],
    unit_V: Ints,
    own_counts: bool,
) -> Floats:
    """For each instance `[I]`, the chance that a random miner with the same number of picks finds it at least once.

    One pick of a query finds instance i with probability (videos of i) / (usable videos outside the query's source).
    Only the query's class and source and the two counts matter, so queries are pooled by class and source first, and
    those again by the number of videos they choose from: the cost does not grow with instances x queries.
    """
    units = int(unit_V.max(initial=-1)) + 1
    unit_label_I, unit_source_I = np.zeros(units, np.int64), np.zeros(units, np.int64)
    unit_label_I[unit_V[unit_V >= 0]] = label_V[unit_V >= 0]
    unit_source_I[unit_V[unit_V >= 0]] = source_V[unit_V >= 0]
    videos_I = np.bincount(unit_V[unit_V >= 0], minlength=units)
    source_size = np.bincount(source_V[usable_V], minlength=int(source_V.max(initial=-1)) + 1)

    group_M, group_label_G = _number_pairs(label_V[query_M], source_V[query_M], label_V[query_M] >= 0)
    groups = len(group_label_G)
    known_M = group_M >= 0
    picks_G = np.bincount(group_M[known_M], weights=(selected_MP >= 0).sum(1)[known_M], minlength=groups)
    group_source_G = np.zeros(groups, np.int64)
    group_source_G[group_M[known_M]] = source_V[query_M[known_M]]
    if own_counts:
        group_source_G[:] = _NOBODY
    pool_G = usable_V.sum() - np.where(group_source_G == _NOBODY, 0, source_size[group_source_G])

    log_miss_I = np.zeros(units)
    for label in np.unique(group_label_G[picks_G > 0]):
        mine_G = (group_label_G == label) & (picks_G > 0) & (pool_G > 0)
        of_class = np.flatnonzero(unit_label_I == label)
        log_miss_I[of_class] = _log_miss(
            videos_I[of_class],
            unit_source_I[of_class],
            picks_G[mine_G],
            pool_G[mine_G],
            np.full(int(mine_G.sum()), -2) if own_counts else group_source_G[mine_G],
        )
    return np.asarray(1 - np.exp(log_miss_I), np.float64)


def _log_miss(videos_I: Ints, source_I: Ints, picks_G: Floats, pool_G: Ints, source_G: Ints) -> Floats:
    """Within a class: log of the chance that no pick of any group finds instance i; a group cannot find its own source."""
    pools, pool_of_G = np.unique(pool_G, return_inverse=True)
    sizes, size_of_I = np.unique(videos_I, return_inverse=True)
    picks_of_pool = np.bincount(pool_of_G, weights=picks_G, minlength=len(pools))
    log_miss = np.log(np.maximum(1 - sizes[:, None] / pools[None, :], _IMPOSSIBLE))
    total_I: Floats = np.asarray((log_miss @ picks_of_pool)[size_of_I], np.float64)

    order_G = np.argsort(source_G)
    place_I = np.searchsorted(source_G[order_G], source_I)
    has_own_I: NDArray[np.bool_] = place_I < len(source_G)
    has_own_I[has_own_I] &= source_G[order_G][place_I[has_own_I]] == source_I[has_own_I]
    own_G = order_G[place_I[has_own_I]]
    total_I[has_own_I] -= log_miss[size_of_I[has_own_I], pool_of_G[own_G]] * picks_G[own_G]
    return np.asarray(np.minimum(total_I, 0.0), np.float64)


def _number_pairs(label: Ints, other: Ints, known: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Number the distinct (label, other) pairs where `known`: each entry's number (-1 elsewhere), each number's label."""
    number = np.full(len(label), -1, np.int64)
    pairs, inverse = np.unique(np.stack([label[known], other[known]], axis=1), axis=0, return_inverse=True)
    number[known] = inverse.reshape(-1)
    return number, pairs[:, 0]


def _share(part_C: NDArray[Any], whole_C: Ints, defined_C: NDArray[np.bool_]) -> Floats:
    share_C = np.full(len(whole_C), np.nan)
    share_C[defined_C] = part_C[defined_C] / whole_C[defined_C]
    return share_C


def _over_defined(statistic: Any, values_C: Floats) -> float:
    defined = values_C[~np.isnan(values_C)]
    return float(statistic(defined)) if len(defined) else float("nan")


def _ids(values: ArrayLike) -> Ints:
    return np.asarray(values, dtype=np.int64)
