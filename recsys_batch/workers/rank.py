"""Ranks candidates: the scores of the sources become one, best first. Needs no catalog."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.columns import BLENDED_SOURCES, POPULARITY
from recsys_batch.contracts.config.night import Retrieve
from recsys_batch.contracts.schemas import SCORED
from recsys_batch.rules.blend import blend, list_order
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import Ragged

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
        items = Ragged.from_arrow(batch.column("items"), np.int64)
        scores_SN = np.stack([Ragged.from_arrow(batch.column(source), np.float64).values for source in BLENDED_SOURCES])
        blended_N, parts_SN = blend(scores_SN, items.starts, self.retrieve.calibrations, self.retrieve.weights)
        scores_N = blended_N.astype(np.float32)
        ranked = {
            "items": items.values,
            "proposed": Ragged.from_arrow(batch.column("proposed"), np.int64).values,
            "scores": scores_N,
            "main_source": np.where(parts_SN.max(axis=0) > 0, parts_SN.argmax(axis=0), _POPULARITY_BIT),
        }
        order_N = list_order(scores_N, items.values, items.starts)
        starts = pa.array(items.starts.astype(np.int32))
        columns = {
            name: pa.ListArray.from_arrays(starts, pa.array(values[order_N]).cast(SCORED.field(name).type.value_type))
            for name, values in ranked.items()
        }
        kept = {name: batch.column(name) for name in SCORED.names if name not in columns}
        return pa.record_batch([(columns | kept)[name] for name in SCORED.names], schema=SCORED)
