import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.schemas import PACKED_VECTORS
from recsys_batch.rules.vector_storage import pack_vectors
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.retrieval.embeddings import (
    keys_of,
    missing_texts,
    refused_texts,
    store_vectors,
    text_key,
    with_vectors,
)


def encode_with(factor):
    """An encoder from frame to frame: the vector of a text is (its length, its length times the factor)."""

    def encode(frame):
        length = F.length("text").cast("float")
        vector = F.array(length, length * F.lit(factor).cast("float"))
        reason = F.when(F.col("text").startswith("bad"), "not finite")
        return frame.select("text_key", F.when(reason.isNull(), vector).alias("vector"), reason.alias("reason"))

    return encode


def texts_of(frame, *texts):
    return frame({"n": "int", "text": "string"}, [{"n": n, "text": text} for n, text in enumerate(texts)])


def test_a_text_is_encoded_once_for_each_encoder(frame, lake):
    texts = texts_of(frame, "tea", "绿茶", "tea", "teapot")
    missing = missing_texts(lake, texts, "one")
    keys = {text: hashlib.sha256(f"one\n{text}".encode()).hexdigest() for text in ("tea", "绿茶", "teapot")}
    assert sorted((row.text, row.text_key) for row in missing.collect()) == sorted(keys.items())
    store_vectors(lake, missing, encode_with(2.0), "one", "run1")
    assert lake.read(Tables.EMBEDDINGS).count() == 3
    assert missing_texts(lake, texts, "one").isEmpty()
    # A new text alone is missing; a second encoder has none, and its vectors stand beside the first one's.
    assert [row.text for row in missing_texts(lake, texts_of(frame, "tea", "cup"), "one").collect()] == ["cup"]
    store_vectors(lake, missing_texts(lake, texts, "two"), encode_with(3.0), "two", "run2")
    for fingerprint, factor in (("one", 2.0), ("two", 3.0)):
        found = with_vectors(lake, texts, fingerprint)
        assert found.columns == ["n", "text", "vector"]
        assert sorted((row.n, row.text, row.vector) for row in found.collect()) == [
            (0, "tea", [3.0, 3.0 * factor]),
            (1, "绿茶", [2.0, 2.0 * factor]),
            (2, "tea", [3.0, 3.0 * factor]),
            (3, "teapot", [6.0, 6.0 * factor]),
        ]


def test_a_repeated_store_and_two_runs_at_once_leave_one_vector_a_text(frame, lake):
    texts = texts_of(frame, "tea", "pot")
    missing = missing_texts(lake, texts, "one").cache()
    assert missing.count() == 2
    store_vectors(lake, missing, encode_with(2.0), "one", "run1")
    store_vectors(lake, missing, encode_with(2.0), "one", "run1")
    assert lake.read(Tables.EMBEDDINGS).count() == 2
    # Another run that looked before the first one stored.
    store_vectors(lake, missing, encode_with(2.0), "one", "run2")
    assert sorted(row.text for row in with_vectors(lake, texts, "one").collect()) == ["pot", "tea"]
    missing.unpersist()


def test_a_text_that_cannot_be_encoded_is_kept_with_its_reason_and_like_nothing(frame, lake):
    texts = texts_of(frame, "tea", "bad one", "bad one")
    store_vectors(lake, missing_texts(lake, texts, "one"), encode_with(2.0), "one", "run1")
    assert missing_texts(lake, texts, "one").isEmpty()
    found = sorted((row.n, row.vector) for row in with_vectors(lake, texts, "one").collect())
    assert found == [(0, [3.0, 6.0]), (1, [0.0, 0.0]), (2, [0.0, 0.0])]
    assert [(row.text, row.reason) for row in refused_texts(lake, texts, "one").collect()] == [
        ("bad one", "not finite")
    ]


OLD_DDL = "text_key STRING, vector ARRAY<FLOAT>, reason STRING, fingerprint STRING"


def packed(encode):
    """The same encoder, packing its vectors as the night does where encoder.storage is float16."""

    @dataclass(frozen=True)
    class Pack:
        output_schema: pa.Schema = PACKED_VECTORS

        def __call__(self, batches):
            for batch in batches:
                made = pack_vectors(batch.column("vector"))
                columns = [batch.column("text_key"), made.vectors, batch.column("reason"), made.halves]
                yield pa.record_batch(columns, schema=PACKED_VECTORS)

    return lambda frame: map_batches(encode(frame), Pack())


def vectors(lake, texts, fingerprint="one"):
    return {row.text: row.vector for row in with_vectors(lake, texts, fingerprint).collect()}


def columns_filled(lake):
    """text_key -> which of the two columns hold a vector."""
    rows = lake.read(Tables.EMBEDDINGS).collect()
    return sorted((row.vector is not None, row.vector_f16 is not None) for row in rows)


def test_readers_get_floats_whichever_column_holds_the_vector(frame, lake):
    first, both = texts_of(frame, "tea", "pot"), texts_of(frame, "tea", "pot", "mug 64", "bad one", "绿茶")
    store_vectors(lake, missing_texts(lake, first, "one"), encode_with(0.25), "one", "run1")
    # Storage switches: what stands is not encoded again, what is new is packed.
    missing = missing_texts(lake, both, "one")
    assert sorted(row.text for row in missing.collect()) == ["bad one", "mug 64", "绿茶"]
    store_vectors(lake, missing, packed(encode_with(0.25)), "one", "run2")
    assert columns_filled(lake) == [(False, False), (False, True), (False, True), (True, False), (True, False)]
    expected = {"tea": [3.0, 0.75], "pot": [3.0, 0.75], "mug 64": [6.0, 1.5], "绿茶": [2.0, 0.5], "bad one": [0.0, 0.0]}
    assert vectors(lake, both) == expected
    assert dict(with_vectors(lake, both, "one").dtypes)["vector"] == "array<float>"
    # And back: again nothing is encoded, and the table with nothing but packed vectors reads the same.
    assert missing_texts(lake, both, "one").isEmpty()
    lake.spark.sql(f"DELETE FROM delta.`{lake.path(Tables.EMBEDDINGS)}` WHERE vector IS NOT NULL")
    halves = texts_of(frame, "mug 64", "bad one", "绿茶")
    assert vectors(lake, halves) == {text: expected[text] for text in ("mug 64", "bad one", "绿茶")}
    assert [row.text for row in refused_texts(lake, halves, "one").collect()] == ["bad one"]


def test_a_vector_beyond_half_floats_stays_exact_among_packed_ones(frame, lake):
    texts = texts_of(frame, "tea", "teapot")
    store_vectors(lake, missing_texts(lake, texts, "one"), packed(encode_with(20_000.0)), "one", "run1")
    assert columns_filled(lake) == [(False, True), (True, False)]
    assert vectors(lake, texts) == {"tea": [3.0, 60_000.0], "teapot": [6.0, 120_000.0]}


def test_an_old_table_is_widened_where_it_lies(frame, lake):
    old = texts_of(frame, "tea", "pot")
    lake.ensure(Tables.EMBEDDINGS, OLD_DDL, ("fingerprint",))
    rows = encode_with(2.0)(old.select(text_key("text", "one").alias("text_key"), "text"))
    lake.append_once(Tables.EMBEDDINGS, rows.withColumn("fingerprint", F.lit("one")), "old night")
    files = sorted(lake.read(Tables.EMBEDDINGS).inputFiles())
    texts = texts_of(frame, "tea", "pot", "cup")
    missing = missing_texts(lake, texts, "one").cache()
    assert [row.text for row in missing.collect()] == ["cup"]
    before = datetime.now(UTC) - timedelta(seconds=1)
    store_vectors(lake, missing, packed(encode_with(2.0)), "one", "run1")
    missing.unpersist()
    table = lake.read(Tables.EMBEDDINGS)
    assert set(files) < set(table.inputFiles())
    assert vectors(lake, texts) == {"tea": [3.0, 6.0], "pot": [3.0, 6.0], "cup": [3.0, 6.0]}
    stamps = table.select("text_key", F.col("encoded_at").cast("double").alias("at")).collect()
    (stamp,) = [row.at for row in stamps if row.at is not None]
    assert len(stamps) == 3
    assert before.timestamp() <= stamp <= datetime.now(UTC).timestamp()


def test_a_text_without_vector_stops_the_reader_instead_of_vanishing(frame, lake):
    texts = texts_of(frame, "tea", "pot")
    store_vectors(lake, missing_texts(lake, texts, "one"), encode_with(2.0), "one", "run1")
    with pytest.raises(Exception, match=r"no vector of encoder one for text_key [0-9a-f]{64}; run the night"):
        with_vectors(lake, texts_of(frame, "tea", "cup"), "one").collect()


def test_two_encoders_take_turns_and_a_switch_back_encodes_nothing(frame, lake):
    texts = texts_of(frame, "tea", "pot")
    calls = []

    def night(fingerprint, factor, run_id, encode=encode_with):
        missing = missing_texts(lake, texts, fingerprint).cache()
        calls.append(missing.count())
        if calls[-1]:
            store_vectors(lake, missing, encode(factor), fingerprint, run_id)
        missing.unpersist()
        return vectors(lake, texts, fingerprint)

    one, two = {"tea": [3.0, 6.0], "pot": [3.0, 6.0]}, {"tea": [3.0, 9.0], "pot": [3.0, 9.0]}
    assert night("one", 2.0, "run1") == one
    assert night("two", 3.0, "run2", lambda factor: packed(encode_with(factor))) == two
    assert night("one", 2.0, "run3") == one
    assert night("two", 3.0, "run4") == two
    assert calls == [2, 2, 0, 0]
    folder = Path(lake.path(Tables.EMBEDDINGS).removeprefix("file://"))
    assert {path.name for path in folder.glob("fingerprint=*")} == {"fingerprint=one", "fingerprint=two"}


def test_keys_are_those_that_the_night_stores(frame, lake):
    texts = texts_of(frame, "tea", "绿茶", "tea", None)
    keys = {(row.text_key, row.fingerprint) for row in keys_of(texts, ["one", "two"]).collect()}
    assert keys == {
        (hashlib.sha256(f"{name}\n{text}".encode()).hexdigest(), name)
        for name in ("one", "two")
        for text in ("tea", "绿茶")
    }
    assert keys_of(texts, []).isEmpty()
