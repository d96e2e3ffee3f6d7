"""The content-addressed embedding table: a text is encoded once per encoder, whoever asks for it."""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.tables import Lake

_DDL = "text_key STRING, vector ARRAY<FLOAT>, reason STRING, fingerprint STRING"


def text_key(text: str, fingerprint: str) -> Column:
    """Return the key of a text column: SHA-256 of the encoder's fingerprint and the text."""
    return F.sha2(F.concat(F.lit(f"{fingerprint}\n"), F.col(text)), 256)


def missing_texts(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Return the distinct (text_key, text) of `texts` (column text) that have no vector yet."""
    lake.ensure(Tables.EMBEDDINGS, _DDL, ("fingerprint",))
    keyed = texts.select(text_key("text", fingerprint).alias("text_key"), "text").dropDuplicates(["text_key"])
    return keyed.join(_stored(lake, fingerprint).select("text_key"), "text_key", "left_anti")


def store_vectors(
    lake: Lake, missing: DataFrame, encode: Callable[[DataFrame], DataFrame], fingerprint: str, txn: str
) -> None:
    """Encode the missing texts and append their vectors (text_key, vector, reason) in one commit.

    A text that cannot be encoded is stored too, with its reason, so that no later night tries it again.
    """
    lake.append_once(Tables.EMBEDDINGS, encode(missing).withColumn("fingerprint", F.lit(fingerprint)), txn)


def with_vectors(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Add the column `vector` to rows with the column `text`; every text must have been stored.

    A text that could not be encoded gets the vector of zeros, which is like nothing.
    """
    stored = _stored(lake, fingerprint)
    first = stored.where("vector IS NOT NULL").select(F.size("vector").alias("n")).first()
    zeros = F.array_repeat(F.lit(0.0).cast("float"), first.n if first is not None else 0)
    keyed = texts.withColumn("text_key", text_key("text", fingerprint))
    vectors = stored.select("text_key", F.coalesce("vector", zeros).alias("vector"))
    return keyed.join(vectors, "text_key").drop("text_key")


def refused_texts(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Return (text_key, text, reason) of the `texts` (column text) that could not be encoded."""
    keyed = texts.select(text_key("text", fingerprint).alias("text_key"), "text").dropDuplicates(["text_key"])
    return keyed.join(_stored(lake, fingerprint).where("reason IS NOT NULL").select("text_key", "reason"), "text_key")


def _stored(lake: Lake, fingerprint: str) -> DataFrame:
    stored = lake.read(Tables.EMBEDDINGS).where(F.col("fingerprint") == fingerprint)
    # Two runs may have encoded one text at the same time; either vector is right.
    return stored.select("text_key", "vector", "reason").dropDuplicates(["text_key"])
