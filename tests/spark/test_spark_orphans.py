"""Unused vectors: marked, removed when nobody came back, never taken from a night, whatever comes in between."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.spark.retrieval import orphans
from recsys_batch.spark.retrieval.embeddings import keys_of, missing_texts, store_vectors, text_key, with_vectors
from recsys_batch.spark.retrieval.orphans import Sweep, sweep
from tests.spark.test_spark_embeddings import encode_with, texts_of

WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
# A year from now every vector that the tests store is old.
T0 = datetime.now(UTC) + timedelta(days=365)
ONE = "a1" * 32 + "-document"


def night(lake, frame, *texts, fingerprint=ONE, run_id="run"):
    """Encode what is missing and return how many texts that were."""
    missing = missing_texts(lake, texts_of(frame, *texts), fingerprint).cache()
    number = missing.count()
    if number:
        store_vectors(lake, missing, encode_with(2.0), fingerprint, f"{run_id}-{fingerprint}-{texts}")
    missing.unpersist()
    return number


def swept(lake, frame, used, now, *, fingerprints=(ONE,), retention=WEEK, dry_run=False):
    texts = texts_of(frame, *used) if used else texts_of(frame, None)
    return sweep(lake, keys_of(texts, list(fingerprints)), now, retention, dry_run)


def stored(lake, frame, *texts, fingerprint=ONE):
    """Those of the texts that have a vector, one entry a row."""
    keys = {row.text_key: row.text for row in named(frame, texts, fingerprint).collect()}
    rows = lake.read(Tables.EMBEDDINGS).where(F.col("fingerprint") == fingerprint).collect()
    return sorted(keys[row.text_key] for row in rows if row.text_key in keys)


def named(frame, texts, fingerprint):
    return texts_of(frame, *texts).select(text_key("text", fingerprint).alias("text_key"), "text")


def marks(lake):
    return lake.read(Tables.EMBEDDING_ORPHANS).count() if lake.exists(Tables.EMBEDDING_ORPHANS) else 0


def versions(lake):
    return tuple(lake.latest_version(t) for t in (Tables.EMBEDDINGS, Tables.EMBEDDING_ORPHANS))


def test_marked_then_removed_a_week_later_and_never_twice(lake, frame):
    night(lake, frame, "tea", "pot", "cup")
    assert swept(lake, frame, ["tea"], T0) == Sweep(3, 2, marked=2, reclaimed=0, removed=0, removed_rows=0)
    assert stored(lake, frame, "tea", "pot", "cup") == ["cup", "pot", "tea"]
    # Marked, but not for a week yet: nothing, and no commit.
    before = versions(lake)
    assert swept(lake, frame, ["tea"], T0 + WEEK - HOUR) == Sweep(3, 2, 0, 0, 0, 0)
    assert versions(lake) == before
    # Of the two, one is used again.
    again = swept(lake, frame, ["tea", "cup"], T0 + WEEK)
    assert again == Sweep(3, 1, marked=0, reclaimed=1, removed=1, removed_rows=1)
    assert stored(lake, frame, "tea", "pot", "cup") == ["cup", "tea"]
    assert marks(lake) == 0
    before = versions(lake)
    assert swept(lake, frame, ["tea", "cup"], T0 + 3 * WEEK) == Sweep(2, 0, 0, 0, 0, 0)
    assert versions(lake) == before
    # What was removed is encoded anew, once.
    assert night(lake, frame, "pot", "tea") == 1


@pytest.mark.long
def test_a_key_that_came_back_must_wait_its_week_anew(lake, frame):
    night(lake, frame, "tea", "cup")
    swept(lake, frame, ["tea"], T0)
    swept(lake, frame, ["tea", "cup"], T0 + HOUR)
    swept(lake, frame, ["tea"], T0 + 2 * HOUR)
    assert swept(lake, frame, ["tea"], T0 + WEEK).removed == 0
    assert swept(lake, frame, ["tea"], T0 + WEEK + 2 * HOUR).removed == 1


def test_without_retention_marking_still_takes_a_sweep_of_its_own(lake, frame):
    night(lake, frame, "tea", "cup")
    now = datetime.now(UTC) + HOUR
    assert swept(lake, frame, ["tea"], now, retention=timedelta()).removed == 0
    assert swept(lake, frame, ["tea"], now, retention=timedelta()).removed == 1
    assert stored(lake, frame, "tea", "cup") == ["tea"]


def test_a_dry_run_says_the_same_and_writes_nothing(lake, frame):
    night(lake, frame, "tea", "cup")
    dry = swept(lake, frame, ["tea"], T0, dry_run=True)
    assert not lake.exists(Tables.EMBEDDING_ORPHANS)
    assert dry == swept(lake, frame, ["tea"], T0)
    before = versions(lake)
    dry = swept(lake, frame, ["tea"], T0 + WEEK, dry_run=True)
    assert (dry.removed, versions(lake)) == (1, before)
    assert dry == swept(lake, frame, ["tea"], T0 + WEEK)


@pytest.mark.long
def test_an_encoder_that_no_night_uses_goes_and_comes_back(lake, frame):
    two = "b2" * 32 + "-document"
    for fingerprint in (ONE, two):
        night(lake, frame, "tea", "cup", fingerprint=fingerprint)
    assert swept(lake, frame, ["tea", "cup"], T0, fingerprints=[ONE, two]).unused == 0
    assert swept(lake, frame, ["tea", "cup"], T0, fingerprints=[two]).marked == 2
    # Before the week is over a night switches back: nothing is encoded, and what it asked for has no mark.
    assert night(lake, frame, "tea") == 0
    assert marks(lake) == 1
    assert swept(lake, frame, ["tea", "cup"], T0 + WEEK, fingerprints=[two]).removed == 1
    assert stored(lake, frame, "tea", "cup") == ["tea"]
    assert stored(lake, frame, "tea", "cup", fingerprint=two) == ["cup", "tea"]


def test_a_vector_that_a_night_asked_for_meanwhile_is_not_removed(lake, frame, monkeypatch):
    """The sweep has looked what is used, and a night that it did not see comes before it acts."""
    night(lake, frame, "tea", "cup")
    swept(lake, frame, ["tea"], T0)
    real = orphans._doom

    def night_first(*args):
        assert night(lake, frame, "cup", run_id="between") == 0
        real(*args)

    monkeypatch.setattr(orphans, "_doom", night_first)
    swept(lake, frame, ["tea"], T0 + WEEK)
    assert stored(lake, frame, "tea", "cup") == ["cup", "tea"]
    assert with_vectors(lake, texts_of(frame, "tea", "cup"), ONE).count() == 2


def test_a_night_that_comes_while_a_vector_is_being_removed_encodes_it_again(lake, frame, monkeypatch):
    night(lake, frame, "tea", "cup")
    # Vectors are as old as the sweep's clock says: a week before it, a new one is younger.
    now = datetime.now(UTC) + WEEK
    lake.ensure(Tables.EMBEDDING_ORPHANS, orphans.EMBEDDING_ORPHANS_DDL, ("fingerprint",))
    orphans._mark(lake, keys_of(texts_of(frame, "cup"), [ONE]), now - WEEK)
    real, encoded = orphans._doom, []

    def night_after(*args):
        real(*args)
        encoded.append(night(lake, frame, "cup", "tea", run_id="between"))
        # Once it has its new vector, the next night needs nothing.
        encoded.append(night(lake, frame, "cup", "tea", run_id="next"))

    monkeypatch.setattr(orphans, "_doom", night_after)
    swept(lake, frame, ["tea"], now)
    assert encoded == [1, 0]
    assert stored(lake, frame, "tea", "cup") == ["cup", "tea"]
    assert marks(lake) == 0
    assert with_vectors(lake, texts_of(frame, "tea", "cup"), ONE).count() == 2


def test_a_sweep_cut_short_is_finished_by_the_next(lake, frame, monkeypatch):
    night(lake, frame, "tea", "cup", "pot")
    swept(lake, frame, ["tea"], T0)
    real = orphans._delete

    def dies(lake, table, *args):
        if table == Tables.EMBEDDINGS:
            raise RuntimeError("killed")
        real(lake, table, *args)

    with monkeypatch.context() as patch:
        patch.setattr(orphans, "_delete", dies)
        with pytest.raises(RuntimeError, match="killed"):
            swept(lake, frame, ["tea"], T0 + WEEK)
    assert stored(lake, frame, "tea", "cup", "pot") == ["cup", "pot", "tea"]
    # Even where it is used again by then: who needed it has encoded it, or will.
    assert swept(lake, frame, ["tea", "pot"], T0 + WEEK + HOUR) == Sweep(3, 1, 0, 0, removed=2, removed_rows=2)
    assert stored(lake, frame, "tea", "cup", "pot") == ["tea"]
    assert marks(lake) == 0
    assert night(lake, frame, "tea", "pot", run_id="later") == 1


@pytest.mark.long
def test_rows_of_an_old_table_count_as_old(lake, frame):
    old = "text_key STRING, vector ARRAY<FLOAT>, reason STRING, fingerprint STRING"
    lake.ensure(Tables.EMBEDDINGS, old, ("fingerprint",))
    rows = encode_with(2.0)(named(frame, ["tea", "cup"], ONE))
    lake.append_once(Tables.EMBEDDINGS, rows.withColumn("fingerprint", F.lit(ONE)), "old night")
    assert swept(lake, frame, ["tea"], T0, dry_run=True).marked == 1
    night(lake, frame, "tea")  # widens the table
    swept(lake, frame, ["tea"], T0)
    assert swept(lake, frame, ["tea"], T0 + WEEK).removed_rows == 1
    assert stored(lake, frame, "tea", "cup") == ["tea"]


@pytest.mark.long
def test_nights_and_sweeps_at_once_lose_nothing(lake, frame):
    texts = [f"text {n}" for n in range(40)]
    night(lake, frame, *texts)
    swept(lake, frame, texts[:10], datetime.now(UTC) - HOUR)

    def one_night(number):
        mine = texts[number * 10 : number * 10 + 20]
        night(lake, frame, *mine, run_id=f"night {number}")
        return with_vectors(lake, texts_of(frame, *mine), ONE).where("size(vector) = 2").count()

    # Two nights ask for what two sweeps, which know of neither, are removing.
    with ThreadPoolExecutor(4) as pool:
        nights = [pool.submit(one_night, number) for number in (1, 2)]
        sweeps = [pool.submit(swept, lake, frame, texts[:10], datetime.now(UTC) + WEEK) for _ in range(2)]
        assert [each.result() for each in nights] == [20, 20]
        assert all(each.result().stored == 40 for each in sweeps)
    asked = texts_of(frame, *texts[10:40])
    assert with_vectors(lake, asked, ONE).where("size(vector) = 2").count() == 30
