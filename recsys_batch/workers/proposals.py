"""What each candidate source proposes to each profile: its best eligible items that the profile may still be shown.

Shapes: P profiles, I items, N proposals of all profiles together.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys_batch.contracts.columns import (
    BASKET,
    EASE,
    ITEM_KNN,
    NEXT_BASKET,
    REPURCHASE,
    TRENDING,
    USER_KNN,
)
from recsys_batch.rules.blend import rank_order
from recsys_batch.rules.sparse_rows import owners_of, strongest, values_at
from recsys_batch.workers.features import Scores
from recsys_batch.workers.item_index import ItemIndex
from recsys_batch.workers.own_sources import scores_of_own
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.ragged import Ragged

IntArray = npt.NDArray[np.int64]
Proposals = tuple[IntArray, IntArray]
"""Profiles and items, each (N,)."""
# Own items of a year ago are still own.
_OWN_DAYS = 180.0


def propose(
    scores: Scores, seen_PI: sp.csr_array, number: int, own_sources: Sequence[str] = ()
) -> dict[str, Proposals]:
    """Return what the ranker's sources, and the shop's own, propose: `number` items a profile and source."""
    index, acts = scores.index, scores.acts
    by_week = rank_order(np.nan_to_num(scores.evidence.facts["users_7"]), np.arange(index.num_items))
    made = {
        REPURCHASE: best_open(acts.matrix(acts.decay(_OWN_DAYS)), index, seen_PI, number),
        USER_KNN: best_open(scores.user_knn, index, seen_PI, number),
        TRENDING: first_open(by_week, index, seen_PI, number),
    }
    for name, history in ((ITEM_KNN, "recent"), (BASKET, "recent"), (NEXT_BASKET, "last"), (EASE, "all")):
        made[name] = best_open(scores.of_model(name, history), index, seen_PI, number)
    for name, scores_PI in scores_of_own(own_sources, scores).items():
        made[name] = best_open(scores_PI, index, seen_PI, number)
    return made


def best_open(scores_PI: sp.csr_array, index: ItemIndex, seen_PI: sp.csr_array, number: int) -> Proposals:
    """Return the open items of the largest positive scores of each profile."""
    rows = owners_of(scores_PI.indptr)
    items = scores_PI.indices.astype(np.int64)
    is_open = index.eligible_I[items] & (values_at(seen_PI, rows, items) == 0)
    left = sp.csr_array((scores_PI.data[is_open], (rows[is_open], items[is_open])), shape=scores_PI.shape)
    top = strongest(left, number)
    return owners_of(top.indptr), top.indices.astype(np.int64)


def first_open(ranked: npt.NDArray[np.intp], index: ItemIndex, seen_PI: sp.csr_array, number: int) -> Proposals:
    """Return the first open items of each profile, of items in an order that all share."""
    ranked = ranked[index.eligible_I[ranked]]
    # Among the first `number` + |seen| at most |seen| are masked, so this prefix is exact.
    head = ranked[: number + int(np.diff(seen_PI.indptr).max(initial=0))].astype(np.int64)
    rows = np.repeat(np.arange(seen_PI.shape[0]), head.size)
    is_open = values_at(seen_PI, rows, np.tile(head, seen_PI.shape[0])) == 0
    is_open_PH = is_open.reshape(seen_PI.shape[0], head.size)
    rows_N, places_N = np.nonzero(is_open_PH & (np.cumsum(is_open_PH, axis=1) <= number))
    return rows_N, head[places_N]


def unite(
    proposals: dict[str, Proposals], names: Sequence[str], num_profiles: int, num_items: int
) -> tuple[Candidates, IntArray]:
    """Return everyone's candidates in item order, and who proposed each: bits in the order of `names`."""
    bit_of = {source: 1 << bit for bit, source in enumerate(names)}
    cells = np.concatenate([rows * num_items + items for rows, items in proposals.values()])
    bits = np.concatenate([np.full(rows.size, bit_of[source]) for source, (rows, _) in proposals.items()])
    order = np.argsort(cells, kind="stable")
    cells_N, first_N = np.unique(cells[order], return_index=True)
    proposed_N = np.bitwise_or.reduceat(bits[order], first_N) if first_N.size else np.zeros(0, dtype=np.int64)
    counts_P = np.bincount(cells_N // num_items, minlength=num_profiles)
    starts_P = np.concatenate([[0], np.cumsum(counts_P)]).astype(np.int64)
    return Candidates(starts_P, cells_N % num_items), proposed_N


def as_mask(seen: Ragged, num_items: int) -> sp.csr_array:
    """Return the lists as a matrix (P, I) that says where they hold an item; its cells are in order."""
    mask = sp.csr_array((np.ones(seen.values.size, dtype=np.int8), seen.values, seen.starts), (len(seen), num_items))
    mask = mask.copy()
    mask.sum_duplicates()
    return mask
