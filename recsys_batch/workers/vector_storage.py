"""Packs the vectors that another task makes, before they leave the worker: half the bytes to Spark and to disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from recsys_batch.contracts.schemas import PACKED_VECTORS
from recsys_batch.contracts.worker_task import WorkerTask
from recsys_batch.rules.vector_storage import pack_vectors
from recsys_batch.workers.progress import ProgressFile

MAX_COSINE_LOSS = "max_cosine_loss"


@dataclass(frozen=True)
class PackVectors:
    """(text_key, vector, reason) of `encode` -> the same with `vector_f16` in place of every vector that fits."""

    encode: WorkerTask
    progress_folder: str
    """Where the task's largest `max_cosine_loss` is written; not the folder of `encode`."""
    output_schema: pa.Schema = field(default=PACKED_VECTORS, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pack batch by batch."""
        progress = ProgressFile(self.progress_folder)
        worst = 0.0
        for batch in self.encode(batches):
            packed = pack_vectors(batch.column("vector"))
            worst = max(worst, packed.max_cosine_loss)
            columns = [batch.column("text_key"), packed.vectors, batch.column("reason"), packed.halves]
            yield pa.record_batch(columns, schema=PACKED_VECTORS)
            progress.advance(batch.num_rows, **{MAX_COSINE_LOSS: worst})
        progress.write()
