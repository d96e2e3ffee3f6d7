"""Ranks candidates: the scores of the sources become one, best first. Needs no catalog."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.columns import BLENDED_SOURCES, POPULARITY
from recsys_batch.contracts.config.night import Retrieve
from recsys_batch.contracts.schemas import CANDIDATES, SCORED
from recsys_batch.rules.blend import blend, rank_order
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import Ragged, to_list_array

_POPULARITY_BIT = BLENDED_SOURCES.index(POPULARITY)


@dataclass(frozen=True)
class RankCandidates:
    """`schemas.CANDIDATES` -> `schemas.SCORED`, one row a profile, its candidates in ranked order."""

    retrieve: Retrieve
    progress_folder: str
    output_schema: pa.Schema = field(default=SCORED, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rank the partition's profiles."""
        progress = ProgressFile(self.progress_folder)
        for batch in batches:
            yield self._rank(batch)
            progress.advance(batch.num_rows)
        progress.write()

    def _rank(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        scores = [Ragged.from_arrow(batch.column(source), np.float64) for source in BLENDED_SOURCES]
        blending = self.retrieve.calibrations, self.retrieve.weights
        items = Ragged.from_arrow(batch.column("items"), np.int64)
        proposed = Ragged.from_arrow(batch.column("proposed"), np.int64)
        ranked: dict[str, list[np.ndarray]] = {name: [] for name in ("items", "proposed", "scores", "main_source")}
        for row in range(batch.num_rows):
            blended_C, parts_SC = blend(np.stack([source[row] for source in scores]), *blending)
            scores_C = blended_C.astype(np.float32)
            order_C = rank_order(scores_C, items[row])
            main_C = np.where(parts_SC.max(axis=0) > 0, parts_SC.argmax(axis=0), _POPULARITY_BIT)
            ranked["items"].append(items[row][order_C])
            ranked["proposed"].append(proposed[row][order_C])
            ranked["scores"].append(scores_C[order_C])
            ranked["main_source"].append(main_C[order_C])
        columns = {name: to_list_array(rows, SCORED.field(name).type.value_type) for name, rows in ranked.items()}
        kept = {name: batch.column(name) for name in CANDIDATES.names if name.startswith("history") or name == "key"}
        return pa.record_batch([(columns | kept)[name] for name in SCORED.names], schema=SCORED)
