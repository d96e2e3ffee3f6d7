"""The input log holds what a full read gives, whatever happens to the files from night to night."""

import os
import shutil
from datetime import date
from pathlib import Path
from urllib.parse import urlparse

import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.errors import InputLogChangedError
from recsys_batch.spark.inputs import input_log
from recsys_batch.spark.inputs.input_log import FILES, Forgotten, forget_unread, is_incremental, read_new, read_whole

DS = date(2026, 6, 30)
SELECT = {"user_id": "user", "event_type": "'view'", "event_time": "time", "item_id": "item", "domain": "day"}


def plain(raw):
    """A normalization that keeps every column: what is tested here is which rows come."""
    return raw.drop("_kept")


@pytest.fixture
def log(spark, tmp_path):
    """Write and delete day files of a CSV source with a partition column."""

    class Log:
        folder = tmp_path / "raw log"
        source = Source(format="csv", path=str(folder), options={"header": "true"}, select=SELECT)
        clock = 1_000_000_000

        def write(self, day: str, name: str, *users: str) -> None:
            path = self.folder / f"day={day}" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("user,item,time\n" + "".join(f"{u},A,{day} 10:00:00\n" for u in users))
            Log.clock += 10
            os.utime(path, (Log.clock, Log.clock))

        def remove(self, day: str) -> None:
            shutil.rmtree(self.folder / f"day={day}")

    return Log()


def rows_of(reading):
    return sorted((row.user_id, row.domain, str(row.event_time)) for row in reading.rows.collect())


def test_nights_read_only_new_files_and_have_the_rows_of_a_full_read(spark, lake, log):
    def night() -> int:
        read = read_new(lake, "events", [log.source], DS, plain, "settings")
        whole = read_whole(spark, "events", [log.source], DS, plain)
        assert rows_of(read) == rows_of(whole)
        assert read.files == whole.files
        return read.files_read

    log.write("2026-06-28", "a", "u1", "u2")
    log.write("2026-06-29", "a", "u1")
    assert night() == 2
    assert night() == 0
    log.write("2026-06-30", "a", "u3")
    log.write("2026-06-28", "late", "u4")
    assert night() == 2
    log.write("2026-06-29", "a", "u1", "u5")  # delivered again, corrected
    assert night() == 1
    log.remove("2026-06-28")
    assert night() == 0
    # Another normalization, or another source over the same files, reads them anew.
    assert read_new(lake, "events", [log.source], DS, plain, "other settings").files_read == 2


def test_rows_of_a_batch_that_never_got_entered_do_not_count(spark, lake, log):
    log.write("2026-06-30", "a", "u1", "u2")
    first = rows_of(read_new(lake, "events", [log.source], DS, plain, ""))
    # A run that was killed between its two commits leaves rows without an entry; another run enters the file first.
    lake.read("input_log/events").selectExpr("* EXCEPT (_batch_file)", "_batch_file + 1 AS _batch_file").write.format(
        "delta"
    ).mode("append").save(lake.path("input_log/events"))
    assert rows_of(read_new(lake, "events", [log.source], DS, plain, "")) == first


def test_delta_sources_are_read_by_data_file(spark, lake, log, tmp_path):
    path = str(tmp_path / "delta source")
    source = log.source.model_copy(update={"format": "delta", "path": path, "options": {}})

    def append(user: str) -> None:
        row = spark.sql(f"SELECT '{user}' AS user, 'A' AS item, '2026-06-30 10:00:00' AS time, 'x' AS day")
        row.write.format("delta").mode("append").save(path)

    append("u1")
    append("u2")
    assert read_new(lake, "events", [source], DS, plain, "").files_read == 2
    append("u3")
    again = read_new(lake, "events", [source], DS, plain, "")
    assert (again.files_read, [user for user, *_ in rows_of(again)]) == (1, ["u1", "u2", "u3"])
    from delta.tables import DeltaTable

    DeltaTable.forPath(spark, path).delete("user = 'u1'")
    assert [user for user, *_ in rows_of(read_new(lake, "events", [source], DS, plain, ""))] == ["u2", "u3"]


def test_what_cannot_be_told_by_file_is_read_in_full(spark, log):
    assert is_incremental(spark, log.source)
    for update in (
        {"path": "log/{ds}"},
        {"where": "day <= '{ds}'"},
        {"select": SELECT | {"event_time": "'{ds} 10:00:00'"}},
        {"format": "json"},
        {"options": {"inferSchema": "true"}},
    ):
        assert not is_incremental(spark, log.source.model_copy(update=update)), update
    assert is_incremental(spark, log.source.model_copy(update={"format": "json", "schema_ddl": "user STRING"}))


def bytes_of(lake, name):
    """The bytes of a table's data files of its newest version, which are all that is left when it is vacuumed."""
    return b"".join(Path(urlparse(uri).path).read_bytes() for uri in lake.read(name).inputFiles())


@pytest.mark.long
def test_a_file_exported_anew_every_night_does_not_make_the_log_grow(spark, lake, log):
    sizes = []
    for number in range(4):
        log.write("2026-06-28", "all", *(f"user{n}" for n in range(20)), f"new{number}")
        read_new(lake, "events", [log.source], DS, plain, "settings")
        gone = forget_unread(lake, "events", [log.source], "settings")
        assert (gone.files, gone.rows) == ((1, 21) if number else (0, 0))
        sizes.append((lake.read("input_log/events").count(), lake.read(FILES).count()))
    assert sizes == [(21, 1)] * 4
    assert len(rows_of(read_new(lake, "events", [log.source], DS, plain, "settings"))) == 21


@pytest.mark.long
def test_what_was_read_under_other_settings_is_forgotten_and_a_dry_run_only_counts(spark, lake, log):
    log.write("2026-06-28", "a", "alice@example.org")
    read_new(lake, "events", [log.source], DS, plain, "raw ids")
    hashed = lambda raw: plain(raw).withColumn("user_id", F.sha2("user_id", 256))  # noqa: E731
    read_new(lake, "events", [log.source], DS, hashed, "pseudonyms")
    assert forget_unread(lake, "events", [log.source], "pseudonyms", dry_run=True) == Forgotten(1, 1)
    assert b"alice" in bytes_of(lake, "input_log/events")
    assert forget_unread(lake, "events", [log.source], "pseudonyms") == Forgotten(1, 1)
    assert b"alice" not in bytes_of(lake, "input_log/events")
    assert forget_unread(lake, "events", [log.source], "pseudonyms") == Forgotten(0, 0)
    assert read_new(lake, "events", [log.source], DS, hashed, "pseudonyms").files_read == 0


def test_nothing_is_forgotten_while_a_source_is_away(spark, lake, log):
    log.write("2026-06-28", "a", "u1")
    read_new(lake, "events", [log.source], DS, plain, "settings")
    log.remove("2026-06-28")
    assert forget_unread(lake, "events", [log.source], "settings") == Forgotten(0, 0)
    log.write("2026-06-29", "b", "u2")
    assert forget_unread(lake, "events", [log.source], "settings") == Forgotten(1, 1)


def test_a_night_whose_entries_vanish_says_so(spark, lake, log, monkeypatch):
    """Maintenance under another config, between a night's look at the entries and its reading."""
    log.write("2026-06-28", "a", "u1")
    read_new(lake, "events", [log.source], DS, plain, "settings")
    known = input_log._known_files

    def and_then_forget(*args):
        found = known(*args)
        monkeypatch.setattr(input_log, "_known_files", known)
        forget_unread(lake, "events", [log.source], "other settings")
        return found

    monkeypatch.setattr(input_log, "_known_files", and_then_forget)
    with pytest.raises(InputLogChangedError, match=r"1 entries of events vanished.*run the night again"):
        read_new(lake, "events", [log.source], DS, plain, "settings")
