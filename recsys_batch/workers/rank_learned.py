"""Ranks candidates by a learned model, and makes what it learns from: the same features, by the same lines.

Shapes: P profiles, N candidates of all profiles together, F features, S candidate sources.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_batch.contracts.columns import (
    BASKET,
    BLENDED_SOURCES,
    CANDIDATE_SOURCES,
    CONTENT,
    COVISITATION,
    EASE,
    ITEM_KNN,
    NEXT_BASKET,
    POPULARITY,
    REPURCHASE,
    SEARCH_SOURCES,
    TRENDING,
    USER_KNN,
)
from recsys_batch.contracts.schemas import CANDIDATES, EXAMPLES, SCORED
from recsys_batch.nn.scoring.lambdamart import read_model
from recsys_batch.workers.features import FEATURES, make_features, scores_of
from recsys_batch.workers.item_index import read_item_index
from recsys_batch.workers.own_sources import names_of, own_names, scores_of_own
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.proposals import as_mask
from recsys_batch.workers.ragged import Ragged, windows
from recsys_batch.workers.retrieve import profile_vectors, to_rows
from recsys_batch.workers.scored import scored_batch

FloatArray = npt.NDArray[np.float32]
# The feature that is a source's own score.
_SCORE_OF = {
    CONTENT: CONTENT,
    COVISITATION: COVISITATION,
    POPULARITY: POPULARITY,
    REPURCHASE: "own_decayed_180",
    ITEM_KNN: f"{ITEM_KNN}_recent",
    BASKET: f"{BASKET}_recent",
    NEXT_BASKET: f"{NEXT_BASKET}_last",
    EASE: f"{EASE}_all",
    USER_KNN: USER_KNN,
    TRENDING: "share_7",
}
_FAR = 1e9


@dataclass(frozen=True)
class RankLearned:
    """`schemas.CANDIDATES` -> `schemas.SCORED`, one row a profile, its candidates in ranked order."""

    index_folder: str
    model_file: str
    profile_block: int
    progress_folder: str
    own_sources: tuple[str, ...] = ()
    output_schema: pa.Schema = field(default=SCORED, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rank the partition's profiles, a block at a time."""
        progress = ProgressFile(self.progress_folder)
        for window in windows(batches, self.profile_block):
            yield self._rank(window)
            progress.advance(window.num_rows)
        progress.write()

    def _rank(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        model = read_model(self.model_file)
        candidates = Candidates.of(Ragged.from_arrow(batch.column("items"), np.int64))
        proposed_N = Ragged.from_arrow(batch.column("proposed"), np.int64).values
        features = features_of(self.index_folder, batch, candidates, self.own_sources)
        scores_N = model.score(features)
        main_N = main_sources(candidates, proposed_N, features, self.own_sources)
        return scored_batch(batch, candidates, proposed_N, scores_N, main_N)


@dataclass(frozen=True)
class MakeExamples:
    """`schemas.CANDIDATES` of an earlier date, with `targets` (stable item indices) -> `schemas.EXAMPLES`.

    Features are in the order of `feature_names`. A profile none of whose targets was proposed keeps nothing but its
    number of targets, unless `whole`: there is no order to learn from it.
    """

    index_folder: str
    profile_block: int
    whole: bool = False
    negatives: int = 0
    """About how many candidates of a profile that were not wanted are kept, by chance; 0, or `whole`: all."""
    own_sources: tuple[str, ...] = ()
    output_schema: pa.Schema = field(default=EXAMPLES, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make the examples of the partition's profiles, a block at a time."""
        for window in windows(batches, self.profile_block):
            yield self._make(window)

    def _make(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        index = read_item_index(self.index_folder)
        candidates = Candidates.of(Ragged.from_arrow(batch.column("items"), np.int64))
        features = features_of(self.index_folder, batch, candidates, self.own_sources)
        (targets,) = to_rows(index, Ragged.from_arrow(batch.column("targets"), np.int64))
        wanted_PI = as_mask(targets, index.num_items)
        labels_N = candidates.pick(wanted_PI.astype(np.float32))
        kept_N = np.ones(labels_N.size, dtype=np.bool_)
        if not self.whole:
            hits_P = np.bincount(candidates.owners, weights=labels_N, minlength=len(candidates))
            kept_N = hits_P[candidates.owners] > 0
            if self.negatives:
                kept_N &= (labels_N > 0) | self._drawn(batch, candidates)
        rows_NF = np.column_stack([values_N[kept_N] for values_N in features.values()])
        counts_P = np.bincount(candidates.owners[kept_N], minlength=len(candidates))
        starts_P = np.concatenate([[0], np.cumsum(counts_P)]).astype(np.int32)
        columns = {
            "key": batch.column("key"),
            "features": pa.LargeListArray.from_arrays(
                pa.array(starts_P.astype(np.int64) * len(features)), pa.array(rows_NF.reshape(-1))
            ).cast(pa.list_(pa.float32())),
            "labels": pa.ListArray.from_arrays(pa.array(starts_P), pa.array(labels_N[kept_N])),
            "num_targets": pa.array(np.diff(targets.starts).astype(np.int32)),
        }
        return pa.record_batch([columns[name] for name in EXAMPLES.names], schema=EXAMPLES)

    def _drawn(self, batch: pa.RecordBatch, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Draw `negatives` of a profile's candidates, each by a hash of its own: on any partition the same (N,)."""
        keys_P = np.array([zlib.crc32(key.encode()) for key in batch.column("key").to_pylist()], dtype=np.uint64)
        items_N = read_item_index(self.index_folder).item_indices_I[candidates.items_N].astype(np.uint64)
        mixed_N = (keys_P[candidates.owners] << np.uint64(32)) ^ items_N
        # The finalizer of SplitMix64 (Steele et al., 2014).
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed_N = (mixed_N ^ (mixed_N >> np.uint64(shift))) * np.uint64(factor)
        uniform_N = (mixed_N ^ (mixed_N >> np.uint64(31))) / np.float64(2**64)
        sizes_P = np.maximum(np.diff(candidates.starts_P), 1)
        return np.asarray(uniform_N < (self.negatives / sizes_P)[candidates.owners])


def feature_names(own_sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features, those that the shop's own sources give last."""
    return (*FEATURES, *own_names(own_sources))


def features_of(
    index_folder: str, batch: pa.RecordBatch, candidates: Candidates, own_sources: Sequence[str] = ()
) -> dict[str, FloatArray]:
    """Return the features (N,) of the candidates in a batch of `schemas.CANDIDATES`, in the order of their names."""
    scores = scores_of(index_folder, batch)
    vectors_PD = profile_vectors(
        scores.index,
        Ragged.from_arrow(batch.column("history"), np.int64),
        Ragged.from_arrow(batch.column("history_weights"), np.float32),
        Ragged.from_arrow(batch.column("vector"), np.float32),
    )
    base = {source: Ragged.from_arrow(batch.column(source), np.float32).values for source in BLENDED_SOURCES}
    proposed_N = Ragged.from_arrow(batch.column("proposed"), np.int64).values
    made = make_features(scores, candidates, proposed_N, base, vectors_PD)
    return made | {name: candidates.pick(given) for name, given in scores_of_own(own_sources, scores).items()}


def main_sources(
    candidates: Candidates,
    proposed_N: npt.NDArray[np.int64],
    features: dict[str, FloatArray],
    own_sources: Sequence[str] = (),
) -> npt.NDArray[np.int64]:
    """Return for each candidate the source, of those that proposed it, in whose own order it stands highest (N,)."""
    names = names_of(own_sources)
    # Sources of queries propose nothing to those whom it ranks.
    ranked = [source for source in names if source not in SEARCH_SOURCES]
    places_RN = np.stack([candidates.ranks(features[_SCORE_OF.get(source, source)]) for source in ranked])
    places_SN = np.full((len(names), candidates.items_N.size), _FAR)
    places_SN[[names.index(source) for source in ranked]] = places_RN
    bits_S1 = (1 << np.arange(len(names)))[:, None]
    return np.asarray(np.where(proposed_N & bits_S1, places_SN, _FAR).argmin(axis=0))


def _check_columns() -> None:
    if {*_SCORE_OF, *SEARCH_SOURCES} != set(CANDIDATE_SOURCES) or not set(BLENDED_SOURCES) <= set(CANDIDATES.names):
        raise AssertionError("every source needs a feature that is its score")


_check_columns()
