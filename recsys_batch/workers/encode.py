"""Encodes texts: one worker's share of the embedding table."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from recsys_batch.contracts.schemas import VECTORS
from recsys_batch.contracts.task import current_task
from recsys_batch.nn.encoder import EncoderSettings
from recsys_batch.workers.models import count_loads, get_encoder
from recsys_batch.workers.progress import ProgressFile
from recsys_batch.workers.ragged import to_vector_array, windows

# Texts sorted by length together: enough that padding is small, few enough that progress shows.
_WINDOW = 2048


@dataclass(frozen=True)
class EncodeTexts:
    """(text_key, text) -> (text_key, vector), in the order of the input."""

    settings: EncoderSettings
    kind: str
    """`document` or `query`: which prefix applies."""
    device: str
    num_threads: int
    """Torch threads; 0: as many as the task has cpus."""
    progress_folder: str
    output_schema: pa.Schema = field(default=VECTORS, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Encode the partition's texts a window at a time; a partition without rows loads no model."""
        progress = ProgressFile(self.progress_folder)
        loads_before, tokens = count_loads(), 0
        for window in windows(batches, _WINDOW):
            encoder = get_encoder(self.settings, self.device, self.num_threads or current_task().cpus)
            before = encoder.stats.tokens
            texts = window.column("text").to_pylist()
            vectors_ND = encoder.encode_queries(texts) if self.kind == "query" else encoder.encode_documents(texts)
            yield pa.record_batch([window.column("text_key"), to_vector_array(vectors_ND)], schema=VECTORS)
            tokens += encoder.stats.tokens - before
            progress.advance(len(texts), model_loads=count_loads() - loads_before, tokens=tokens)
        progress.write()
