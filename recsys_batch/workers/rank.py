"""Ranks candidates: the scores of the sources become one, best first. Needs no catalog."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.columns import BLENDED_SOURCES, POPULARITY
from recsys_batch.contracts.config.night import Retrieve
from recsys_batch.contracts.schemas import SCORED
from recsys_batch.rules.blend import blend
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import Ragged
from recsys_batch.workers.scored import scored_batch

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
        candidates = Candidates.of(Ragged.from_arrow(batch.column("items"), np.int64))
        scores_SN = np.stack([Ragged.from_arrow(batch.column(source), np.float64).values for source in BLENDED_SOURCES])
        blended_N, parts_SN = blend(scores_SN, candidates.starts_P, self.retrieve.calibrations, self.retrieve.weights)
        main_N = np.where(parts_SN.max(axis=0) > 0, parts_SN.argmax(axis=0), _POPULARITY_BIT)
        proposed_N = Ragged.from_arrow(batch.column("proposed"), np.int64).values
        return scored_batch(batch, candidates, proposed_N, blended_N.astype(np.float32), main_N)
