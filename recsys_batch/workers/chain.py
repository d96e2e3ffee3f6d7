"""Two worker tasks in one pass: the second maps what the first yields, and nothing is written in between."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from recsys_batch.contracts.worker_task import WorkerTask


@dataclass(frozen=True)
class Chain:
    """The input of `first` -> the output of `then`, which must take what `first` yields."""

    first: WorkerTask
    then: WorkerTask

    @property
    def output_schema(self) -> pa.Schema:
        """That of `then`."""
        return self.then.output_schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Map batch by batch."""
        yield from self.then(self.first(batches))
