"""Joins what speaks for candidates of queries into one score: words first, meaning and acts to order what they find.

Shapes: P queries, N candidates of all queries together; query p has the candidates `starts_P[p]` to `starts_P[p + 1]`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_batch.contracts.config.search import SearchWeights
from recsys_batch.rules.blend import by_list
from recsys_batch.rules.sparse_rows import owners_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def share_of_best(scores_N: FloatArray, starts_P: IntArray) -> FloatArray:
    """Return each score as a share of the query's largest; zeros where none is positive. No evidence stays 0."""
    largest_N = by_list(np.maximum, scores_N, starts_P)[owners_of(starts_P)]
    return np.where(largest_N > 0, np.maximum(scores_N, 0.0) / np.where(largest_N > 0, largest_N, 1.0), 0.0)


def between_ends(scores_N: FloatArray, starts_P: IntArray) -> FloatArray:
    """Return the scores between 0 (the query's least) and 1 (its largest); zeros where all are equal."""
    owners = owners_of(starts_P)
    low_N, high_N = (by_list(join, scores_N, starts_P)[owners] for join in (np.minimum, np.maximum))
    varies = high_N > low_N
    return np.where(varies, (scores_N - low_N) / np.where(varies, high_N - low_N, 1.0), 0.0)


def trust_of(found_F: FloatArray, any_M: FloatArray) -> float:
    """Return how far the cosines may be believed for this query, from 0 (not at all) to 1.

    `found_F`: cosines of what its words find best, `any_M`: those of items taken anywhere. Twice the chance, less one,
    that one of the first is larger than one of the second (the area under the curve): an encoder that cannot read the
    query orders items at random. Where words find nothing, nothing can be told: 1.
    """
    if not found_F.size or not any_M.size:
        return 1.0
    others = np.sort(any_M)
    below = np.searchsorted(others, found_F, side="left")
    ties = np.searchsorted(others, found_F, side="right") - below
    return float(np.clip(2 * np.mean((below + ties / 2) / others.size) - 1, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for the candidates of queries, as it was measured: (N,) each."""

    words: FloatArray
    """BM25."""
    meaning: FloatArray
    """Cosine."""
    acts: FloatArray
    """Weighed clicks and purchases after the query."""
    likeness: FloatArray
    """Cosine with the history of who asks."""
    together: FloatArray
    """Co-visitation with that history."""
    popularity: FloatArray
    category: FloatArray
    """The share of what the query's words find best that is of the item's category."""


def combine(
    evidence: Evidence, starts_P: IntArray, weights: SearchWeights, trust_P: FloatArray, known_P: FloatArray
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return each candidate's score (N,), and every kind's part of it, by the names of `weights`.

    Every kind is brought between 0 and 1 among the query's own candidates before it is weighed: of words, acts and
    popularity a share of the best, as no evidence is 0 there; of cosines, whose 0 means nothing, from the least on.
    Words of which the catalog knows but a part (`known_P`) count that part: the best of a bad match is still one.
    """
    owners = owners_of(starts_P)

    def best(scores_N: FloatArray) -> FloatArray:
        return share_of_best(scores_N, starts_P)

    parts = {
        "words": weights.words * known_P[owners] * best(evidence.words),
        "meaning": weights.meaning * trust_P[owners] * between_ends(evidence.meaning, starts_P),
        "acts": weights.acts * best(evidence.acts),
        "personal": weights.personal * (between_ends(evidence.likeness, starts_P) + best(evidence.together)) / 2,
        "category": weights.category * np.maximum(evidence.category, 0.0),
        "popularity": weights.popularity * best(evidence.popularity),
    }
    return np.sum(list(parts.values()), axis=0), parts
