"""What a retrieval model should tell from the right document: negatives of five kinds.

In-batch ones cost nothing: the other queries' documents. Random and popular ones are drawn, shown-but-not-clicked ones
come from the log, and hard ones, similar but different, are mined with the exact top-N from the current encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_batch.contracts.config.tasks import NegativeSettings
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Query p of `query_P` is answered by document p of `document_P`."""

    query_P: Indices
    document_P: Indices

    def __post_init__(self) -> None:
        """Raise ValueError where the columns differ in length or hold a negative index."""
        if self.query_P.shape != self.document_P.shape or self.query_P.ndim != 1:
            raise ValueError(f"pairs of {self.query_P.shape} queries and {self.document_P.shape} documents")
        if len(self) and min(self.query_P.min(), self.document_P.min()) < 0:
            raise ValueError("pairs hold a negative index; leave out rows without query or document")

    def __len__(self) -> int:
        return len(self.query_P)

    def documents_of_queries(self, num_queries: int, also: "Pairs | None" = None) -> SeenItems:
        """Return the documents that are right for each of `num_queries` queries; `also` adds right ones to them."""
        queries, documents = self.query_P, self.document_P
        if also is not None:
            queries = np.concatenate([queries, also.query_P])
            documents = np.concatenate([documents, also.document_P])
        order = np.lexsort((documents, queries))
        indptr = np.concatenate([[0], np.bincount(queries, minlength=num_queries).cumsum()])
        return SeenItems(indptr.astype(np.int64), documents[order].astype(np.int64))


def mine_hard_negatives(
    queries_QD: Tensor, documents_ID: Tensor, pairs: Pairs, right: SeenItems, settings: NegativeSettings
) -> Indices:
    """Return for each pair its hard negatives (P, keep), the nearest first, filled up with -1.

    They are the query's nearest documents, without those that are `right` for it, and without those so near that they
    probably are: above `max_share` of the pair's own score, or less than `margin` below it. Vectors have length 1.
    """
    top = exact_topk(queries_QD, [ItemBlock(0, documents_ID)], settings.depth, exclude=right)
    rows_P = torch.from_numpy(pairs.query_P)
    positive_P = (queries_QD[rows_P] * documents_ID[torch.from_numpy(pairs.document_P)]).sum(1)
    # Of a positive below 0 a share would be above it.
    ceiling_P = torch.minimum(positive_P * settings.max_share, positive_P - settings.margin)
    ceiling_P = torch.where(positive_P > 0, ceiling_P, positive_P - settings.margin)
    mined_PK = np.full((len(pairs), settings.keep), -1, dtype=np.int64)
    for start in range(0, len(pairs), 4096):
        part = slice(start, start + 4096)
        scores_PK, indices_PK = top.scores_QK[rows_P[part]], top.indices_QK[rows_P[part]]
        is_hard_PK = (scores_PK <= ceiling_P[part, None]) & (indices_PK >= 0)
        is_hard_PK[:, : settings.skip] = False
        place_PK = is_hard_PK.cumsum(1) - 1
        is_kept_PK = is_hard_PK & (place_PK < settings.keep)
        rows, columns = is_kept_PK.nonzero(as_tuple=True)
        mined_PK[rows.numpy() + start, place_PK[rows, columns].numpy()] = indices_PK[rows, columns].numpy()
    return mined_PK


class Negatives:
    """Draws the negatives of pairs; what it mined is renewed by `mine`, as a rule once an epoch."""

    def __init__(
        self,
        settings: NegativeSettings,
        pairs: Pairs,
        num_documents: int,
        popularity_I: NDArray[np.floating] | None = None,
        shown: Mapping[int, Indices] | None = None,
    ) -> None:
        """Keep what is drawn from. `shown` maps a query to what it was shown without a click.

        Raises ValueError where `settings` asks for popular or shown ones and their source is missing, or popularities
        are negative or all 0.
        """
        if settings.popular and popularity_I is None:
            raise ValueError("negatives.popular needs the documents' popularity; give it, or set popular to 0")
        if settings.shown and shown is None:
            raise ValueError("negatives.shown needs what was shown without a click; give it, or set shown to 0")
        self.settings, self.pairs, self.num_documents = settings, pairs, num_documents
        self._shown = shown or {}
        self._cumulative_I = None
        if settings.popular and popularity_I is not None:
            self._cumulative_I = _cumulate(popularity_I, settings.popularity_power)
        self._mined_PK: Indices | None = None

    def mine(self, queries_QD: Tensor, documents_ID: Tensor, right: SeenItems) -> None:
        """Renew the hard negatives from the vectors of all queries and documents."""
        self._mined_PK = mine_hard_negatives(queries_QD, documents_ID, self.pairs, right, self.settings)

    def draw(self, pair: int, rng: np.random.Generator) -> Indices:
        """Return negatives of one pair, without repeats; fewer where a source has no more. A random or popular one may
        be right for the query by chance: the loss leaves those out that are known to be.
        """
        settings = self.settings
        parts = [rng.integers(self.num_documents, size=settings.random)]
        if self._cumulative_I is not None:
            draws = rng.random(settings.popular)
            parts.append(np.searchsorted(self._cumulative_I, draws, side="right"))
        if settings.shown:
            parts.append(_sample(self._shown.get(int(self.pairs.query_P[pair]), _NONE), settings.shown, rng))
        if settings.hard:
            if self._mined_PK is None:
                raise ValueError("hard negatives are asked for before any were mined; call start_epoch first")
            mined_K = self._mined_PK[pair]
            parts.append(_sample(mined_K[mined_K >= 0], settings.hard, rng))
        return np.unique(np.concatenate(parts)).astype(np.int64)


_NONE = np.empty(0, dtype=np.int64)


def _sample(values: Indices, count: int, rng: np.random.Generator) -> Indices:
    return values if values.size <= count else rng.choice(values, count, replace=False)


def _cumulate(popularity_I: NDArray[np.floating], power: float) -> NDArray[np.float64]:
    weights_I = np.asarray(popularity_I, dtype=np.float64)
    if (weights_I < 0).any() or not weights_I.sum() > 0:
        raise ValueError("popularity must not be negative, and not 0 for every document")
    cumulative_I: NDArray[np.float64] = np.where(weights_I > 0, weights_I**power, 0.0).cumsum()
    shares_I: NDArray[np.float64] = cumulative_I / cumulative_I[-1]
    return shares_I
