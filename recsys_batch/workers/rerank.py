"""Reranks: caps, dense ranks, the sources and a reason for every row that a shopper may see."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import pyarrow as pa

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
from recsys_batch.contracts.schemas import RANKED
from recsys_batch.rules.reasons import TOGETHER, ListKind, explain
from recsys_batch.rules.rerank import select_top
from recsys_batch.workers.evidence import read_evidence
from recsys_batch.workers.item_index import ItemIndex, read_item_index
from recsys_batch.workers.own_sources import names_of, reasons_of
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import Ragged


@dataclass(frozen=True)
class _Profile:
    """One row of `schemas.SCORED` as arrays: C candidates, best first, and H history items, newest first."""

    key: str
    items_C: np.ndarray
    proposed_C: np.ndarray
    scores_C: np.ndarray
    main_source_C: np.ndarray
    history_H: np.ndarray
    weights_H: np.ndarray
    codes_H: np.ndarray


@dataclass(frozen=True)
class _Anchor:
    """What explains a row: the source of most of its score and the history item behind it, if any."""

    source: str
    item_id: str | None = None
    title: str = ""
    event_type: str = ""


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
    output_schema: pa.Schema = field(default=RANKED, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rerank the partition's profiles; one without candidates yields no row, which the gates see."""
        progress = ProgressFile(self.progress_folder)
        over_cap = 0
        for batch in batches:
            index = read_item_index(self.index_folder)
            rows: list[dict[str, object]] = []
            for profile in _profiles(batch):
                over_cap += self._rerank(index, profile, rows)
            yield pa.RecordBatch.from_pylist(rows, schema=RANKED)
            progress.advance(batch.num_rows, over_cap=over_cap)
        progress.write()

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names_of(self.own_sources)

    @cached_property
    def _own_reasons(self) -> dict[str, str]:
        return reasons_of(self.own_sources)

    def _rerank(self, index: ItemIndex, profile: _Profile, rows: list[dict[str, object]]) -> int:
        """Append one profile's list to `rows`; return how many of its items are over the category cap."""
        categories_C = index.category_codes_I[profile.items_C]
        selection = select_top(categories_C, self.config.top_n, self.config.category_cap)
        anchors = self._anchors(index, profile, selection.positions)
        for rank, (position, anchor) in enumerate(zip(selection.positions, anchors, strict=True), 1):
            if anchor.source in self._own_reasons:
                kind, text = "own", self._own_reasons[anchor.source]
            else:
                kind, text = explain(self.list_kind, anchor.source, anchor.title, anchor.event_type)
            rows.append(
                {
                    "key": profile.key,
                    "rank": rank,
                    "item": index.item_ids[profile.items_C[position]].as_py(),
                    "score": float(profile.scores_C[position]),
                    "sources": _sources_of(int(profile.proposed_C[position]), self._names),
                    "reason": {"kind": kind, "anchor": anchor.item_id, "text": text},
                }
            )
        return selection.num_over_cap

    def _anchors(self, index: ItemIndex, profile: _Profile, positions_N: np.ndarray) -> list[_Anchor]:
        """Name for each listed item the history item that pulled it in most, by the source of most of its score."""
        sources = [self._names[s] for s in profile.main_source_C[positions_N]]
        if self.list_kind == "query":
            return [_Anchor(s) if s == POPULARITY else _Anchor(s, profile.key, profile.key) for s in sources]
        if not profile.history_H.size:
            return [_Anchor(source) for source in sources]
        items_N = profile.items_C[positions_N]
        # An item never explains itself.
        is_other_NH = items_N[:, None] != profile.history_H
        pulls_NH = {
            source: np.where(is_other_NH, self._pulls(index, profile, items_N, source), 0.0)
            for source in {CONTENT, *sources}
            if source == CONTENT or source in TOGETHER
        }
        anchors = []
        for n, source in enumerate(sources):
            shown = source if source not in pulls_NH or pulls_NH[source][n].max() > 0 else CONTENT
            if shown == CONTENT and pulls_NH[CONTENT][n].max() <= 0:
                shown = POPULARITY if is_other_NH[n].all() else REPURCHASE
            if shown == REPURCHASE:
                own = np.flatnonzero(~is_other_NH[n])
                event_type = EVENT_TYPES[profile.codes_H[own[0]]] if own.size else ""
                anchors.append(_Anchor(shown, event_type=event_type))
            elif shown in pulls_NH:
                anchors.append(_anchor_at(index, profile, shown, int(pulls_NH[shown][n].argmax())))
            else:
                anchors.append(_Anchor(shown))
        return anchors

    def _pulls(self, index: ItemIndex, profile: _Profile, items_N: np.ndarray, source: str) -> np.ndarray:
        """Return how much each history item speaks for each listed one by a source (N, H)."""
        history_H = profile.history_H
        if source == CONTENT:
            cosines_NH = index.vectors_ID[items_N] @ index.vectors_ID[history_H].T
            return np.asarray(np.maximum(cosines_NH, 0.0) ** self.sharpness * profile.weights_H)
        if source == COVISITATION:
            # It has a model without a ranker's evidence too.
            model = index.neighbors_II
        else:
            # EASE weighs pairs that nobody bought together too: what it rests on is who shares customers.
            model = read_evidence(self.index_folder).models[ITEM_KNN if source == EASE else source]
        return np.asarray(model[history_H][:, items_N].toarray().T * profile.weights_H)


@cache
def _sources_of(bits: int, names: tuple[str, ...]) -> list[str]:
    return [source for bit, source in enumerate(names) if bits >> bit & 1]


def _anchor_at(index: ItemIndex, profile: _Profile, source: str, place: int) -> _Anchor:
    item = int(profile.history_H[place])
    event_type = EVENT_TYPES[profile.codes_H[place]]
    return _Anchor(source, index.item_ids[item].as_py(), index.titles[item].as_py(), event_type)


def _profiles(batch: pa.RecordBatch) -> Iterator[_Profile]:
    kinds = {"items": np.int64, "proposed": np.int64, "scores": np.float32, "main_source": np.int64}
    kinds |= {"history": np.int64, "history_weights": np.float32, "history_codes": np.int64}
    lists = [Ragged.from_arrow(batch.column(name), kind) for name, kind in kinds.items()]
    for row, key in enumerate(batch.column("key").to_pylist()):
        yield _Profile(key, *(column[row] for column in lists))
