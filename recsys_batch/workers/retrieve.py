"""Candidate generation: every source proposes its exact top-K, then every source scores all that was proposed.

Seen and ineligible items are masked before a source selects, so nobody over-fetches. Profiles name items by their
stable index; from here on, candidates and histories name them by their row in the run's item index.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp
import torch

from recsys_batch.contracts.columns import BLENDED_SOURCES, CONTENT, COVISITATION, POPULARITY
from recsys_batch.contracts.config.night import Retrieve
from recsys_batch.contracts.schemas import CANDIDATES, PROFILES
from recsys_batch.contracts.worker_task import current_task
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.rules.sparse_rows import owners_of
from recsys_batch.workers.encode import ending_on_device_failure
from recsys_batch.workers.features import scores_of
from recsys_batch.workers.item_index import ItemIndex, read_item_index
from recsys_batch.workers.models import choose_device
from recsys_batch.workers.own_sources import names_of
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.proposals import Proposals, as_mask, best_open, first_open, propose, unite
from recsys_batch.workers.ragged import Ragged, windows
from recsys_batch.workers.search.scores import QueryScores, query_evidence, query_scores, trusts_of

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

_ACTS = {"acts": np.int64, "act_ages": np.float32, "act_weights": np.float32, "act_bought": np.bool_}


@dataclass(frozen=True)
class RetrieveCandidates:
    """`schemas.PROFILES` -> `schemas.CANDIDATES`, one row a profile."""

    index_folder: str
    config: Retrieve
    device: str
    num_threads: int
    progress_folder: str
    ranked_candidates: int = 0
    """What each source of a ranker proposes besides; 0: there is no ranker."""
    own_sources: tuple[str, ...] = ()
    """The shop's own sources (`own_sources`), where there is a ranker."""
    search_folder: str = ""
    """The search index, where profiles may have queries."""
    searched_candidates: int = 0
    """What each source of queries proposes."""
    output_schema: pa.Schema = field(default=CANDIDATES, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Generate candidates for the partition's profiles, a block at a time."""
        torch.set_num_threads(self.num_threads or current_task().cpus)
        progress = ProgressFile(self.progress_folder)
        for window in windows(batches, self.config.profile_block):
            with ending_on_device_failure():
                candidates = self._retrieve(read_item_index(self.index_folder), window)
            yield candidates
            progress.advance(window.num_rows)
        progress.write()

    def _retrieve(self, index: ItemIndex, profiles: pa.RecordBatch) -> pa.RecordBatch:
        history, raw_weights, codes = to_rows(
            index,
            Ragged.from_arrow(profiles.column("history"), np.int64),
            Ragged.from_arrow(profiles.column("history_weights"), np.float32),
            Ragged.from_arrow(profiles.column("history_codes"), np.int8),
        )
        (seen,) = to_rows(index, Ragged.from_arrow(profiles.column("seen"), np.int64))
        weights = self._decayed(history, raw_weights)
        own_vectors = Ragged.from_arrow(profiles.column("vector"), np.float32)
        vectors_PD = profile_vectors(index, history, weights, own_vectors)
        covisits_PI = sp.csr_array(_to_csr(history, weights, index.num_items) @ index.neighbors_II, dtype=np.float32)
        seen_PI = as_mask(seen, index.num_items)
        passed_on = {
            "history": _to_arrow(history, pa.int32()),
            "history_weights": _to_arrow(weights, pa.float32()),
            "history_codes": _to_arrow(codes, pa.int8()),
            **_acts_of_rows(index, profiles),
        }
        proposals = {
            CONTENT: self._content(index, vectors_PD, seen),
            COVISITATION: best_open(covisits_PI, index, seen_PI, self.config.covisitation.candidates),
            POPULARITY: first_open(index.popular, index, seen_PI, self.config.popularity.candidates),
        }
        if self.ranked_candidates:
            known = pa.record_batch(passed_on | {"key": profiles.column("key")})
            proposals |= propose(scores_of(self.index_folder, known), seen_PI, self.ranked_candidates, self.own_sources)
        found = self._search(index, profiles)
        if found is not None:
            proposals = _both(proposals, found.propose(index, seen_PI, self.searched_candidates))
        candidates, proposed_N = unite(proposals, names_of(self.own_sources), profiles.num_rows, index.num_items)
        content_rows = [
            self._score_content(index, vectors_PD[row], history[row], weights[row], items_C)
            for row, items_C in enumerate(np.split(candidates.items_N, candidates.starts_P[1:-1]))
        ]
        if found is not None:
            liked_PD = profile_vectors(index, history, weights, Ragged(own_vectors.values[:0], 0 * own_vectors.starts))
            evidence = query_evidence(found, index, candidates, vectors_PD, liked_PD)
            passed_on |= {name: _lists(candidates, values_N, pa.float32()) for name, values_N in evidence.items()}
            passed_on["trust"] = pa.array(trusts_of(found, index, vectors_PD))
        else:
            unasked = set(CANDIDATES.names) - set(PROFILES.names) - {*BLENDED_SOURCES, "items", "proposed"}
            passed_on |= {name: pa.nulls(profiles.num_rows, CANDIDATES.field(name).type) for name in unasked}
        columns = passed_on | {
            "items": _lists(candidates, candidates.items_N, pa.int32()),
            "proposed": _lists(candidates, proposed_N, pa.int32()),
            CONTENT: _lists(candidates, np.concatenate(content_rows), pa.float32()),
            COVISITATION: _lists(candidates, candidates.pick(covisits_PI), pa.float32()),
            POPULARITY: _lists(candidates, index.popularity_I[candidates.items_N], pa.float32()),
        }
        return pa.record_batch(
            [columns[n] if n in columns else profiles.column(n) for n in CANDIDATES.names], schema=CANDIDATES
        )

    def _search(self, index: ItemIndex, profiles: pa.RecordBatch) -> QueryScores | None:
        """Return what the queries of the profiles find; None where nobody asks for anything."""
        if not self.search_folder or profiles.column("query").null_count == profiles.num_rows:
            return None
        return query_scores(self.index_folder, self.search_folder, index, profiles)

    def _decayed(self, history: Ragged, weights: Ragged) -> Ragged:
        """Weigh the history by place too: newest first, halved every `position_half_life` places."""
        places = np.arange(history.values.size) - history.starts[owners_of(history.starts)]
        decay = np.power(0.5, places / self.config.position_half_life)
        return Ragged((weights.values * decay).astype(np.float32), weights.starts)

    def _content(self, index: ItemIndex, vectors_PD: FloatArray, seen: Ragged) -> Proposals:
        """Return each profile's nearest eligible unseen items; none for a profile without a vector."""
        device = choose_device(self.device)
        found_PK = (
            exact_topk(
                torch.from_numpy(vectors_PD).to(device),
                item_blocks(index, self.config.item_block, device),
                self.config.content.candidates,
                _seen_items(seen),
            )
            .indices_QK.cpu()
            .numpy()
        )
        has_vector_P = (vectors_PD != 0).any(axis=1)
        rows_N, places_N = np.nonzero((found_PK >= 0) & has_vector_P[:, None])
        return rows_N, found_PK[rows_N, places_N]

    def _score_content(
        self, index: ItemIndex, vector_D: FloatArray, history: IntArray, weights: FloatArray, items: IntArray
    ) -> FloatArray:
        """Return the content score of every candidate, by the mode and sharpness of the config."""
        content = self.config.content
        if content.mode == "mean" or not history.size:
            scores = np.maximum(index.vectors_ID[items] @ vector_D, 0.0)
            return np.asarray(scores**content.sharpness, dtype=np.float32)
        similarities_CH = np.maximum(index.vectors_ID[items] @ index.vectors_ID[history].T, 0.0)
        return np.asarray((similarities_CH**content.sharpness) @ weights, dtype=np.float32)


def _both(proposals: dict[str, Proposals], more: dict[str, Proposals]) -> dict[str, Proposals]:
    """Return the proposals of both, those of one source together; none of it may be proposed twice."""
    made = proposals | more
    for source in proposals.keys() & more.keys():
        rows, items = (np.concatenate(parts) for parts in zip(proposals[source], more[source], strict=True))
        pairs = np.unique(np.stack([rows, items]), axis=1)
        made[source] = pairs[0], pairs[1]
    return made


def profile_vectors(index: ItemIndex, history: Ragged, weights: Ragged, own: Ragged) -> FloatArray:
    """Return unit profile vectors (P, D): the profile's own (a query's), else the weighted mean of its history's.

    A profile with neither has zeros.
    """
    num_profiles = len(history)
    vectors_PD = np.zeros((num_profiles, index.vectors_ID.shape[1]), dtype=np.float32)
    for row in range(num_profiles):
        if own[row].size:
            vectors_PD[row] = own[row]
        elif history[row].size:
            vectors_PD[row] = weights[row] @ index.vectors_ID[history[row]]
    norms_P1 = np.linalg.norm(vectors_PD, axis=1, keepdims=True)
    return np.where(norms_P1 > 0, vectors_PD / np.where(norms_P1 > 0, norms_P1, 1), 0).astype(np.float32, copy=False)


def item_blocks(index: ItemIndex, block: int, device: str) -> Iterator[ItemBlock]:
    """Yield the catalog in blocks of consecutive items."""
    for start in range(0, index.num_items, block):
        stop = min(start + block, index.num_items)
        yield ItemBlock(
            offset=start,
            vectors_BD=torch.from_numpy(index.vectors_ID[start:stop]).to(device),
            eligible_B=torch.from_numpy(index.eligible_I[start:stop]).to(device),
        )


def to_rows(index: ItemIndex, items: Ragged, *aligned: Ragged) -> tuple[Ragged, ...]:
    """Translate lists of stable indices into rows; items outside the catalog go, and what is aligned with them."""
    rows = index.finder.find(items.values)
    known = rows >= 0
    starts = np.concatenate([[0], np.cumsum(known)])[items.starts]
    return Ragged(rows[known], starts), *(Ragged(other.values[known], starts) for other in aligned)


def _acts_of_rows(index: ItemIndex, profiles: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the columns of the acts with items as rows; null where the profiles have none."""
    if profiles.column("acts").null_count == profiles.num_rows:
        return {name: profiles.column(name) for name in _ACTS}
    lists = to_rows(index, *(Ragged.from_arrow(profiles.column(name), kind) for name, kind in _ACTS.items()))
    return {
        name: _to_arrow(values, PROFILES.field(name).type.value_type) for name, values in zip(_ACTS, lists, strict=True)
    }


def _lists(candidates: Candidates, values_N: npt.NDArray[Any], kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(candidates.starts_P.astype(np.int32)), pa.array(values_N).cast(kind))


def _to_arrow(lists: Ragged, kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(lists.starts.astype(np.int32)), pa.array(lists.values).cast(kind))


def _seen_items(seen: Ragged) -> SeenItems:
    return SeenItems(seen.starts, seen.values[np.lexsort((seen.values, owners_of(seen.starts)))])


def _to_csr(history: Ragged, weights: Ragged, num_items: int) -> sp.csr_matrix:
    return sp.csr_matrix(
        (weights.values.astype(np.float64), history.values, history.starts), shape=(len(history), num_items)
    )
