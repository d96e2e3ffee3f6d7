"""Reranking: from candidates in ranked order to the lists that are shown, all lists of a block at once.

Shapes: P lists, N candidates of all lists together (those of a list in ranked order), C of the longest list, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_batch.rules.blend import by_list
from recsys_batch.rules.sparse_rows import owners_of

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
# Diversity chooses among so many times the length of a list; what stands behind them only fills it.
_POOL = 5
# Vector components that one step of diversity lays out: 64 MB.
_MAX_COMPONENTS = 16_000_000


@dataclass(frozen=True)
class Cap:
    """At most `most` items of one code a list."""

    codes_N: IntArray
    """A negative code means none, and is never capped."""
    most: int


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) over item vectors."""

    strength: float
    """0: by score alone; 1: by unlikeness alone."""
    scores_N: FloatArray
    items_N: IntArray
    vectors_ID: FloatArray
    """Of unit length."""


@dataclass(frozen=True)
class Selection:
    """What was chosen of each list, in ranked order, and how many items broke a cap to fill a list."""

    positions_L: npt.NDArray[np.intp]
    """Places among the N candidates, ascending."""
    owners_L: npt.NDArray[np.intp]
    """The list of each."""
    num_over_cap: int


def boosted(scores_N: FloatArray, starts_P: IntArray, boosts_N: FloatArray) -> FloatArray:
    """Raise each score by its boost times the range of its list's scores; 0.1 is a tenth of the way from last to first.

    Where a list's scores are all equal the boost itself is added, so that it still decides.
    """
    ranges_P = by_list(np.maximum, scores_N, starts_P) - by_list(np.minimum, scores_N, starts_P)
    ranges_P[ranges_P == 0] = 1.0
    return (scores_N + boosts_N * ranges_P[owners_of(starts_P)]).astype(np.float32)


def select_lists(
    starts_P: IntArray, top_n: int, caps: Sequence[Cap] = (), diversity: Diversity | None = None
) -> Selection:
    """Choose up to `top_n` candidates of each list; the chosen keep their ranked order, so scores never rise with rank.

    Candidates are taken one after the other: the best by score, or with `diversity` by score and unlikeness to those
    taken, whose codes have not reached a cap. Where the caps would leave a list short, the best capped candidates are
    let in again.
    """
    owners = owners_of(starts_P)
    places_N = np.arange(owners.size) - starts_P[owners]
    if not caps and diversity is None:
        positions = np.flatnonzero(places_N < top_n)
        return Selection(positions, owners[positions], 0)
    lengths_P = np.diff(starts_P)
    width = int(lengths_P.max(initial=0))
    valid_PC = np.arange(width) < lengths_P[:, None]
    codes_KPC = [_laid_out(cap.codes_N, valid_PC, -1) for cap in caps]
    values_PC = np.broadcast_to(-np.arange(width, dtype=np.float64), valid_PC.shape)
    likeness = _Likeness(diversity, valid_PC, _POOL * top_n) if diversity is not None else None
    chosen_PC = np.zeros(valid_PC.shape, dtype=np.bool_)
    open_PC = valid_PC.copy()
    taken_KPC = [np.zeros(valid_PC.shape, dtype=np.int32) for _ in caps]
    rows = np.arange(len(lengths_P))
    for _ in range(min(top_n, width)):
        if likeness is not None:
            values_PC = likeness.values()
        best_P = np.where(open_PC, values_PC, -np.inf).argmax(axis=1)
        found_P = open_PC[rows, best_P]
        if not found_P.any():
            break
        lists, best = rows[found_P], best_P[found_P]
        chosen_PC[lists, best] = True
        open_PC[lists, best] = False
        for cap, codes_PC, taken_PC in zip(caps, codes_KPC, taken_KPC, strict=True):
            codes = codes_PC[lists, best]
            taken_PC[lists] += (codes_PC[lists] == codes[:, None]) & (codes >= 0)[:, None]
            open_PC &= taken_PC < cap.most
        if likeness is not None:
            likeness.take(lists, best)
    missing_P = np.minimum(lengths_P, top_n) - chosen_PC.sum(axis=1)
    left_PC = valid_PC & ~chosen_PC
    chosen_PC |= left_PC & (left_PC.cumsum(axis=1) <= missing_P[:, None])
    lists, places = np.nonzero(chosen_PC)
    return Selection(starts_P[lists] + places, lists, int(missing_P.sum()))


def _laid_out(values_N: npt.NDArray[Any], valid_PC: npt.NDArray[np.bool_], empty: float) -> npt.NDArray[Any]:
    laid_PC = np.full(valid_PC.shape, empty, dtype=values_N.dtype)
    laid_PC[valid_PC] = values_N
    return laid_PC


class _Likeness:
    """How much each candidate of the pool is worth beside those that were taken."""

    def __init__(self, diversity: Diversity, valid_PC: npt.NDArray[np.bool_], pool: int) -> None:
        num_lists, width = valid_PC.shape
        pool = min(pool, width)
        self._strength, self._vectors_ID = diversity.strength, diversity.vectors_ID
        self._items_PM = _laid_out(diversity.items_N, valid_PC, 0)[:, :pool]
        valid_PM = valid_PC[:, :pool]
        scores_PM = _laid_out(diversity.scores_N.astype(np.float64), valid_PC, 0)[:, :pool]
        # Ranked order: the first of a pool has its highest score, the last valid one its lowest.
        last_P = np.maximum(valid_PM.sum(axis=1) - 1, 0)
        low_P1 = scores_PM[np.arange(num_lists), last_P][:, None] if pool else scores_PM
        range_P1 = scores_PM[:, :1] - low_P1
        relevance_PM = np.where(range_P1 > 0, (scores_PM - low_P1) / np.where(range_P1 > 0, range_P1, 1), 0.0)
        self._relevance_PM = (1 - diversity.strength) * relevance_PM
        self._closest_PM = np.zeros(valid_PM.shape)
        # Behind the pool by rank alone, after all of it.
        self._values_PC = np.broadcast_to(-10.0 - np.arange(width), valid_PC.shape).copy()

    def values(self) -> npt.NDArray[np.float64]:
        pool = self._items_PM.shape[1]
        self._values_PC[:, :pool] = self._relevance_PM - self._strength * self._closest_PM
        return self._values_PC

    def take(self, lists: npt.NDArray[np.intp], places: npt.NDArray[np.intp]) -> None:
        """Note that each of the lists has taken its candidate at a place."""
        pool = self._items_PM.shape[1]
        within = places < pool
        lists, places = lists[within], places[within]
        step = max(_MAX_COMPONENTS // max(pool * self._vectors_ID.shape[1], 1), 1)
        for start in range(0, lists.size, step):
            some = lists[start : start + step]
            taken_SD = self._vectors_ID[self._items_PM[some, places[start : start + step]]]
            cosines_SM = (self._vectors_ID[self._items_PM[some]] @ taken_SD[:, :, None])[:, :, 0]
            self._closest_PM[some] = np.maximum(self._closest_PM[some], cosines_SM)
