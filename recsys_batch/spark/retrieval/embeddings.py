"""The content-addressed embedding table: a text is encoded once per encoder, whoever asks for it.

Rows of several encoders stand side by side, each under its fingerprint, and so do the two kinds of storage
(`rules.vector_storage`): whoever reads gets array<float> from either.
"""

from collections.abc import Callable, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.schemas import EMBEDDINGS_DDL
from recsys_batch.rules.vector_storage import unpack_vectors
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.retrieval.orphans import reclaim, without_doomed
from recsys_batch.spark.session import make_frame

_HAS_VECTOR = "vector IS NOT NULL OR vector_f16 IS NOT NULL"


def text_key(text: str, fingerprint: str) -> Column:
    """Return the key of a text column: SHA-256 of the encoder's fingerprint and the text."""
    return _key(F.col(text), F.lit(fingerprint))


def keys_of(texts: DataFrame, fingerprints: Sequence[str]) -> DataFrame:
    """Return (text_key, fingerprint) of every distinct text (column text) under each of the fingerprints."""
    spark = texts.sparkSession
    names = make_frame(spark, [(fingerprint,) for fingerprint in fingerprints], "fingerprint STRING")
    pairs = texts.where("text IS NOT NULL").select("text").distinct().crossJoin(F.broadcast(names))
    return pairs.select(_key(F.col("text"), F.col("fingerprint")).alias("text_key"), "fingerprint")


def look_up_texts(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Return the distinct `texts` (column text) as (text_key, text, is_missing, is_refused): whether one has no vector
    yet, and whether one that was tried got none. Key and text are those of missing texts, null in other rows.

    A table of an older version gets the columns that it lacks; its rows stay as they are. Vectors of `texts` that
    maintenance found unused are in use from here on, and those that it is about to remove count as missing.
    """
    lake.ensure(Tables.EMBEDDINGS, EMBEDDINGS_DDL, ("fingerprint",))
    # Shuffled once, by the key, for the join and for what finds the distinct ones of both sides after it.
    keyed = texts.select(text_key("text", fingerprint).alias("text_key"), "text").repartition("text_key")
    reclaim(lake, keyed.select("text_key"), fingerprint)
    stored = without_doomed(lake, _rows(lake, fingerprint), fingerprint)
    known = stored.select("text_key", F.col("reason").isNotNull().alias("refused"))
    found = keyed.join(known, "text_key", "left").groupBy("text_key", "text").agg(F.max("refused").alias("refused"))
    is_missing = F.col("refused").isNull()
    # Nothing is asked of known texts any more, and they are nearly all.
    wanted = [F.when(is_missing, F.col(name)).alias(name) for name in ("text_key", "text")]
    return found.select(
        *wanted, is_missing.alias("is_missing"), F.coalesce("refused", F.lit(False)).alias("is_refused")
    )


def missing_texts(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Return the distinct (text_key, text) of `texts` (column text) that have no vector yet; see `look_up_texts`."""
    return look_up_texts(lake, texts, fingerprint).where("is_missing").select("text_key", "text")


def store_vectors(
    lake: Lake, missing: DataFrame, encode: Callable[[DataFrame], DataFrame], fingerprint: str, txn: str
) -> None:
    """Encode the missing texts and append their vectors in one commit.

    `encode` returns (text_key, vector, reason), or the same with `vector_f16` (`schemas.PACKED_VECTORS`). A text that
    cannot be encoded is stored too, with its reason, so that no later night tries it again.
    """
    # When it was stored, for maintenance; the business date is another matter.
    stamped = {"fingerprint": F.lit(fingerprint), "encoded_at": F.current_timestamp()}
    lake.append_once(Tables.EMBEDDINGS, encode(missing).withColumns(stamped), txn)


def with_vectors(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Add the column `vector` to rows with the column `text`; rows without text are left out.

    A text that could not be encoded gets the vector of zeros, which is like nothing. Reading a row whose text was never
    stored fails the Spark job: an item that silently had no vector would vanish from every list.
    """
    rows = _rows(lake, fingerprint)
    width = F.when(F.col("vector").isNull(), F.length("vector_f16") / 2).otherwise(F.size("vector"))
    first = rows.where(_HAS_VECTOR).select(width.cast("int").alias("n")).first()
    zeros = F.array_repeat(F.lit(0.0).cast("float"), first.n if first is not None else 0)
    held = [F.col("vector")]
    # The Python worker that unpacks is started only where something is packed.
    if not rows.where("vector_f16 IS NOT NULL").isEmpty():
        held.append(_unpacked("vector_f16"))
    lost = F.raise_error(
        F.concat(
            F.lit(f"{lake.path(Tables.EMBEDDINGS)}: no vector of encoder {fingerprint} for text_key "),
            F.col("text_key"),
            F.lit("; run the night again without --resume, which encodes what is missing"),
        )
    )
    keyed = texts.where("text IS NOT NULL").withColumn("text_key", text_key("text", fingerprint))
    stored = _stored(lake, fingerprint).select("text_key", "vector", "vector_f16", F.lit(True).alias("_stored"))
    # Unpacked after the join: half the bytes are shuffled, and only what is asked for is unpacked.
    joined = keyed.join(stored, "text_key", "left").withColumn("vector", F.coalesce(*held, zeros))
    checked = F.when(F.col("_stored").isNull(), lost.cast("array<float>")).otherwise(F.col("vector"))
    return joined.withColumn("vector", checked).drop("text_key", "vector_f16", "_stored")


def refused_texts(lake: Lake, texts: DataFrame, fingerprint: str) -> DataFrame:
    """Return (text_key, text, reason) of the `texts` (column text) that could not be encoded."""
    keyed = texts.select(text_key("text", fingerprint).alias("text_key"), "text").dropDuplicates(["text_key"])
    return keyed.join(_stored(lake, fingerprint).where("reason IS NOT NULL").select("text_key", "reason"), "text_key")


def _key(text: Column, fingerprint: Column) -> Column:
    return F.sha2(F.concat(fingerprint, F.lit("\n"), text), 256)


def _stored(lake: Lake, fingerprint: str) -> DataFrame:
    # Two runs may have encoded one text at the same time, or maintenance may be about to remove one of two rows; either
    # vector is right.
    return _rows(lake, fingerprint).dropDuplicates(["text_key"])


def _rows(lake: Lake, fingerprint: str) -> DataFrame:
    return lake.read(Tables.EMBEDDINGS).where(F.col("fingerprint") == fingerprint)


def _unpacked(column: str) -> Column:
    def unpack(halves: pa.Array) -> pa.Array:
        return unpack_vectors(halves)

    return F.arrow_udf(unpack, "array<float>")(column)  # type: ignore[attr-defined, no-any-return]
