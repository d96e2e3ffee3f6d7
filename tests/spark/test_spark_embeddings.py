import hashlib

from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.embeddings import missing_texts, refused_texts, store_vectors, with_vectors


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
