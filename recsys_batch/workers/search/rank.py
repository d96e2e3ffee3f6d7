"""Ranks the candidates of those who ask for something, and leaves all others to another ranker."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_batch.contracts.columns import (
    CANDIDATE_SOURCES,
    CATEGORY,
    CONTENT,
    COVISITATION,
    POPULARITY,
    SEARCHERS,
    WORDS,
)
from recsys_batch.contracts.config.search import SearchWeights
from recsys_batch.contracts.schemas import SCORED
from recsys_batch.contracts.worker_task import WorkerTask
from recsys_batch.rules.search.combine import Evidence, combine
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.ragged import Ragged
from recsys_batch.workers.scored import scored_batch

# Column of `schemas.CANDIDATES` -> the kind of evidence it is.
_EVIDENCE = {
    "words": "words",
    "meaning": "meaning",
    "searchers": "acts",
    "likeness": "likeness",
    COVISITATION: "together",
    POPULARITY: "popularity",
    "category_share": "category",
}


@dataclass(frozen=True)
class RankQueries:
    """`schemas.CANDIDATES` -> `schemas.SCORED`: those with a query by its evidence, all others by `others`."""

    weights: SearchWeights
    others: WorkerTask
    output_schema: pa.Schema = field(default=SCORED, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rank the partition's profiles."""
        for batch in batches:
            asks = pc.is_valid(batch.column("query"))
            if asks.true_count:
                yield self._rank(batch.filter(asks))
            if asks.true_count < batch.num_rows:
                yield from self.others(iter([batch.filter(pc.invert(asks))]))

    def _rank(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        candidates = Candidates.of(Ragged.from_arrow(batch.column("items"), np.int64))
        evidence = Evidence(
            **{kind: Ragged.from_arrow(batch.column(column), np.float64).values for column, kind in _EVIDENCE.items()}
        )
        trust_P, known_P = (
            batch.column(name).fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
            for name in ("trust", "known_share")
        )
        total_N, parts = combine(evidence, candidates.starts_P, self.weights, trust_P, known_P)
        proposed_N = Ragged.from_arrow(batch.column("proposed"), np.int64).values
        return scored_batch(batch, candidates, proposed_N, total_N.astype(np.float32), _main_sources(parts, proposed_N))


def _main_sources(parts: dict[str, np.ndarray], proposed_N: np.ndarray) -> np.ndarray:
    """Return for each candidate the source that explains it best to who asked, as its place in CANDIDATE_SOURCES.

    Acts where they say as much as words, else words; what neither speaks for is there by the source of most of what
    does, of those that proposed it: by its meaning, by the history of who asks, by its category, or as popular.
    """

    def of(source: str) -> np.ndarray:
        return proposed_N >> CANDIDATE_SOURCES.index(source) & 1

    others = {
        CONTENT: parts["meaning"] * of(CONTENT),
        # Any source of the history may have proposed it; without a history it is 0.
        COVISITATION: parts["personal"],
        CATEGORY: parts["category"] * of(CATEGORY),
        # Below all that says anything.
        POPULARITY: np.full(proposed_N.size, 1e-9),
    }
    names = list(others)
    places = np.array([CANDIDATE_SOURCES.index(name) for name in names])
    main_N = places[np.stack([others[name] for name in names]).argmax(axis=0)] if proposed_N.size else proposed_N
    main_N = np.where(parts["words"] > 0, CANDIDATE_SOURCES.index(WORDS), main_N)
    by_acts = (parts["acts"] > 0) & (parts["acts"] >= parts["words"])
    return np.where(by_acts, CANDIDATE_SOURCES.index(SEARCHERS), main_N)
