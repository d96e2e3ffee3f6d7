"""Reranks: rules, dense ranks, the sources and a reason for every row that a shopper may see.

Shapes: P profiles, N candidates of all profiles together, L listed rows of all profiles, H of the longest history,
I items, D dimensions.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from recsys_batch.contracts.columns import (
    CONTENT,
    COVISITATION,
    EASE,
    EVENT_TYPES,
    ITEM_KNN,
    POPULARITY,
    REPURCHASE,
)
from recsys_batch.contracts.config.night import Rerank
from recsys_batch.contracts.schemas import RANKED, REASON
from recsys_batch.rules.blend import list_order
from recsys_batch.rules.reasons import TOGETHER, ListKind, explain
from recsys_batch.rules.rerank import Cap, Diversity, Selection, boosted, select_lists
from recsys_batch.rules.sparse_rows import values_at
from recsys_batch.workers.evidence import read_evidence
from recsys_batch.workers.item_index import ItemIndex, read_boosts, read_item_index
from recsys_batch.workers.own_sources import names_of, reasons_of
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import Ragged
from recsys_batch.workers.search.reasons import AskedFor, explain_rows

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
# Vector components of histories that are laid out at a time: 64 MB.
_MAX_COMPONENTS = 16_000_000


@dataclass(frozen=True, eq=False)
class _Ranked:
    """A batch of `schemas.SCORED` as flat arrays, candidates best first."""

    keys: pa.Array
    starts_P: IntArray
    items_N: IntArray
    scores_N: FloatArray
    proposed_N: IntArray
    sources_N: IntArray
    history: Ragged
    weights_H: FloatArray
    codes_H: IntArray
    asked: AskedFor | None
    """What the profiles ask for; None where none of them asks for anything."""


@dataclass(frozen=True, eq=False)
class _Anchors:
    """What explains each listed row: the source of most of its score, and the history item behind it, if any."""

    sources_L: IntArray
    """By place in the names of sources."""
    items_L: IntArray
    """Row of the item; -1 where there is none."""
    codes_L: IntArray
    """What the user did with it, or with the listed item itself where that is bought again; -1: unknown."""


@dataclass(frozen=True)
class RerankCandidates:
    """`schemas.SCORED` -> `schemas.RANKED`, up to `rerank.top_n` rows a profile."""

    index_folder: str
    list_kind: ListKind
    config: Rerank
    sharpness: float
    """Exponent that retrieval scored cosines with: the anchor must be the item that really pulled most."""
    progress_folder: str
    own_sources: tuple[str, ...] = ()
    boosts_folder: str = ""
    """Where items with a boost stand; empty: none has."""
    search_folder: str = ""
    """The search index, where profiles may have queries."""
    output_schema: pa.Schema = field(default=RANKED, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rerank the partition's profiles; one without candidates yields no row, which the gates see."""
        progress = ProgressFile(self.progress_folder)
        done: Counter[str] = Counter()
        for batch in batches:
            index = read_item_index(self.index_folder)
            boosts_I = read_boosts(self.boosts_folder, self.index_folder) if self.boosts_folder else None
            ranked = _ranked(batch)
            if boosts_I is not None:
                ranked = _boosted(ranked, boosts_I)
            selection, num_varied = self._select(index, ranked)
            yield self._rows(index, ranked, selection)
            done.update(over_cap=selection.num_over_cap, varied=num_varied)
            if boosts_I is not None:
                done["boosted"] += int(np.count_nonzero(boosts_I[ranked.items_N[selection.positions_L]]))
            progress.advance(batch.num_rows, **done)
        progress.write()

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names_of(self.own_sources)

    @cached_property
    def _own_reasons(self) -> dict[str, str]:
        return reasons_of(self.own_sources)

    def _select(self, index: ItemIndex, ranked: _Ranked) -> tuple[Selection, int]:
        """Return what the rules choose, and how many rows of it are there for diversity's sake."""
        caps = [
            Cap(codes_I[ranked.items_N], most)
            for codes_I, most in (
                (index.category_codes_I, self.config.category_cap),
                (index.brand_codes_I, self.config.brand_cap),
            )
            if most > 0
        ]
        by_score = select_lists(ranked.starts_P, self.config.top_n, caps)
        if not self.config.diversity:
            return by_score, 0
        diversity = Diversity(self.config.diversity, ranked.scores_N, ranked.items_N, index.vectors_ID)
        varied = select_lists(ranked.starts_P, self.config.top_n, caps, diversity)
        return varied, int(np.setdiff1d(varied.positions_L, by_score.positions_L, assume_unique=True).size)

    def _rows(self, index: ItemIndex, ranked: _Ranked, selection: Selection) -> pa.RecordBatch:
        positions_L, owners_L = selection.positions_L, selection.owners_L
        items_L = ranked.items_N[positions_L]
        anchors = self._anchors(index, ranked, selection)
        keys = ranked.keys.take(pa.array(owners_L))
        has_item_L = anchors.items_L >= 0
        places = pa.array(anchors.items_L, mask=~has_item_L)
        ids, titles = index.item_ids.take(places).to_pylist(), index.titles.take(places).to_pylist()
        if self.list_kind == "query":
            # What explains a query's items is the query.
            explained = anchors.sources_L != self._names.index(POPULARITY)
            ids = titles = [key if own else None for key, own in zip(keys.to_pylist(), explained, strict=True)]
        said = [
            self._said(self._names[source], title or "", EVENT_TYPES[code] if code >= 0 else "")
            for source, title, code in zip(anchors.sources_L.tolist(), titles, anchors.codes_L.tolist(), strict=True)
        ]
        if ranked.asked is not None:
            sources_L = [self._names[source] for source in ranked.sources_N[positions_L].tolist()]
            for row, reason in explain_rows(index, self.search_folder, ranked.asked, sources_L, owners_L, items_L):
                said[row], ids[row] = reason.said, reason.anchor
        first_L = np.searchsorted(owners_L, owners_L)
        columns = {
            "key": keys,
            "rank": pa.array((np.arange(owners_L.size) - first_L + 1).astype(np.int32)),
            "item": index.item_ids.take(pa.array(items_L)),
            "score": pa.array(ranked.scores_N[positions_L]),
            "sources": pa.array(
                [_sources_of(bits, self._names) for bits in ranked.proposed_N[positions_L].tolist()],
                pa.list_(pa.string()),
            ),
            "reason": pa.StructArray.from_arrays(
                [
                    pa.array([kind for kind, _ in said], pa.string()),
                    pa.array(ids, pa.string()),
                    pa.array([text for _, text in said], pa.string()),
                ],
                fields=list(REASON),
            ),
        }
        return pa.record_batch([columns[name] for name in RANKED.names], schema=RANKED)

    def _said(self, source: str, title: str, event_type: str) -> tuple[str, str]:
        if source in self._own_reasons:
            return "own", self._own_reasons[source]
        return explain(self.list_kind, source, title, event_type)

    def _anchors(self, index: ItemIndex, ranked: _Ranked, selection: Selection) -> _Anchors:
        """Name for each listed item the history item that pulled it in most, by the source of most of its score.

        A source that has no such item gives way to likeness, and likeness without any to what the user did with the
        item itself, or to popularity.
        """
        sources_L = ranked.sources_N[selection.positions_L].copy()
        owners_L, num_rows = selection.owners_L, selection.owners_L.size
        items_L, codes_L = np.full(num_rows, -1), np.full(num_rows, -1)
        lengths_P = np.diff(ranked.history.starts)
        if self.list_kind == "query" or not lengths_P.any():
            return _Anchors(sources_L, items_L, codes_L)
        listed_L = ranked.items_N[selection.positions_L]
        content, repurchase, popularity = (self._names.index(s) for s in (CONTENT, REPURCHASE, POPULARITY))
        valid_LH = np.arange(lengths_P.max()) < lengths_P[owners_L][:, None]
        places_LH = np.where(valid_LH, ranked.history.starts[owners_L][:, None] + np.arange(lengths_P.max()), 0)
        history_LH = ranked.history.values[places_LH]
        # An item never explains itself.
        others_LH = valid_LH & (history_LH != listed_L[:, None])
        weights_LH = np.where(others_LH, ranked.weights_H[places_LH], 0.0)
        cosines_LH = self._cosines(index, ranked.history, listed_L, owners_L)
        content_LH = np.maximum(cosines_LH, 0.0) ** self.sharpness * weights_LH
        pulls_LH = content_LH.copy()
        has_history_L = lengths_P[owners_L] > 0
        for source in {self._names[s] for s in np.unique(sources_L)} & set(TOGETHER):
            rows = np.flatnonzero((sources_L == self._names.index(source)) & has_history_L)
            own_LH = np.zeros((rows.size, others_LH.shape[1]))
            cells = others_LH[rows]
            listed = np.broadcast_to(listed_L[rows][:, None], cells.shape)[cells]
            own_LH[cells] = values_at(self._model(index, source), history_LH[rows][cells], listed)
            own_LH *= weights_LH[rows]
            found = own_LH.max(axis=1) > 0
            pulls_LH[rows[found]] = own_LH[found]
            sources_L[rows[~found]] = content
        unlike_L = has_history_L & (sources_L == content) & (content_LH.max(axis=1) <= 0)
        is_own_LH = valid_LH & ~others_LH
        sources_L[unlike_L] = np.where(is_own_LH.any(axis=1), repurchase, popularity)[unlike_L]
        rows = np.arange(num_rows)
        again_L = has_history_L & (sources_L == repurchase) & is_own_LH.any(axis=1)
        codes_L[again_L] = ranked.codes_H[places_LH[rows, is_own_LH.argmax(axis=1)]][again_L]
        pulling = [content, *(self._names.index(source) for source in TOGETHER)]
        pulled_L = has_history_L & np.isin(sources_L, pulling)
        best_L = places_LH[rows, pulls_LH.argmax(axis=1)]
        items_L[pulled_L] = ranked.history.values[best_L][pulled_L]
        codes_L[pulled_L] = ranked.codes_H[best_L][pulled_L]
        return _Anchors(sources_L, items_L, codes_L)

    def _model(self, index: ItemIndex, source: str) -> sp.csr_array:
        if source == COVISITATION:
            # It has a model without a ranker's evidence too.
            return sp.csr_array(index.neighbors_II)
        # EASE weighs pairs that nobody bought together too: what it rests on is who shares customers.
        return sp.csr_array(read_evidence(self.index_folder).models[ITEM_KNN if source == EASE else source])

    def _cosines(
        self, index: ItemIndex, history: Ragged, listed_L: IntArray, owners_L: npt.NDArray[np.intp]
    ) -> FloatArray:
        """Return the cosine of each listed item with each item of its profile's history (L, H); 0 beyond it."""
        lengths_P = np.diff(history.starts)
        width = int(lengths_P.max())
        cosines_LH = np.zeros((listed_L.size, width), dtype=np.float32)
        counts_P = np.bincount(owners_L, minlength=len(history))
        starts_P = np.concatenate([[0], np.cumsum(counts_P)])
        rows_a_time = max(_MAX_COMPONENTS // ((width + int(counts_P.max(initial=1))) * index.vectors_ID.shape[1]), 1)
        for start in range(0, len(history), rows_a_time):
            stop = min(start + rows_a_time, len(history))
            listed = _grid(listed_L, starts_P[start : stop + 1])
            known = _grid(history.values, history.starts[start : stop + 1])
            cosines = index.vectors_ID[listed] @ index.vectors_ID[known].transpose(0, 2, 1)
            is_listed = np.arange(listed.shape[1]) < counts_P[start:stop, None]
            is_known = np.arange(known.shape[1]) < lengths_P[start:stop, None]
            cosines = np.where(is_known[:, None, :], cosines, 0.0)
            cosines_LH[starts_P[start] : starts_P[stop], : known.shape[1]] = cosines[is_listed]
        return cosines_LH


def _boosted(ranked: _Ranked, boosts_I: FloatArray) -> _Ranked:
    """Return the candidates with the scores, and in the order, that boosts give them."""
    scores_N = boosted(ranked.scores_N, ranked.starts_P, boosts_I[ranked.items_N])
    order_N = list_order(scores_N, ranked.items_N, ranked.starts_P)
    return replace(
        ranked,
        items_N=ranked.items_N[order_N],
        scores_N=scores_N[order_N],
        proposed_N=ranked.proposed_N[order_N],
        sources_N=ranked.sources_N[order_N],
    )


def _grid(values: IntArray, starts: IntArray) -> IntArray:
    """Return lists as the rows of a matrix, filled up with the item of row 0."""
    lengths = np.diff(starts)
    filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
    grid = np.zeros(filled.shape, dtype=np.int64)
    grid[filled] = values[starts[0] : starts[-1]]
    return grid


@cache
def _sources_of(bits: int, names: tuple[str, ...]) -> list[str]:
    return [source for bit, source in enumerate(names) if bits >> bit & 1]


def _ranked(batch: pa.RecordBatch) -> _Ranked:
    def read(name: str, kind: npt.DTypeLike) -> Ragged:
        return Ragged.from_arrow(batch.column(name), kind)

    items = read("items", np.int64)
    return _Ranked(
        keys=batch.column("key"),
        starts_P=items.starts,
        items_N=items.values,
        scores_N=read("scores", np.float32).values,
        proposed_N=read("proposed", np.int64).values,
        sources_N=read("main_source", np.int64).values,
        history=read("history", np.int64),
        weights_H=read("history_weights", np.float32).values,
        codes_H=read("history_codes", np.int64).values,
        asked=AskedFor.of(batch),
    )
