"""What a person would be shown: the published list of one key, with the history it rests on."""

import os
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPES, Lists, Tables
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.rules.pseudonyms import pseudonymize, read_key
from recsys_batch.rules.texts.clean import canonicalize_ids
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, prepared_by, read_release


@dataclass(frozen=True)
class Shown:
    """One key's history (newest first) and list (rank order); rows carry item_id and title.

    A time in the history is text, `2026-06-30 21:15:00`, on the clocks of the session's time zone.
    """

    table: str
    key: str
    release_id: str
    history: list[Row]
    recommendations: list[Row]
    arm: str | None = None
    """Of a user, the arm of the experiment; None where none ran."""
    read: Row | None = None
    """Of a query, or a request with one, how it was read (a row of `query_understanding`)."""


def shown_to(lake: Lake, ds: date, table: str, key: str) -> Shown:
    """Return what the latest release of `ds` shows to `key`. Raises ConfigError for a key without a list.

    To be called in the shop's time zone (`session.local_time`): that is how times are written.
    """
    release = latest_release(lake, ds)
    if release is None or table not in release.tables:
        raise InputNotReadyError(f"{table}: nothing published for {ds} in {lake.root}; run the night first")
    rows = read_release(lake, release, table).where(F.col(Lists.KEY[table]) == key)
    prepared = prepared_by(release)
    titles = read_prepared(lake, Tables.ITEMS, ds, prepared).select(F.col("item_id").alias("i"), "title", "item_index")
    arm = F.col("arm") if "arm" in rows.columns else F.lit(None).cast("string")
    listed = rows.join(titles, F.col(Lists.ITEM[table]) == F.col("i")).orderBy("rank")
    found = listed.select(
        "rank",
        F.col("i").alias("item_id"),
        "title",
        "score",
        "sources",
        F.col("reason.text").alias("reason"),
        arm.alias("arm"),
    ).collect()
    if not found:
        raise ConfigError(f"{table}: {Lists.KEY[table]} {key!r} has no list on {ds}; check the id's spelling and case")
    history = []
    if table == Tables.USER_RECOMMENDATIONS:
        history = _history(read_prepared(lake, Tables.USER_HISTORIES, ds, prepared), key, titles)
    read = _how_read(lake, ds, prepared, table, key)
    return Shown(table, key, release.release_id, history, found, found[0].arm, read)


def known_user(user_id: str, prepare: Prepare) -> str:
    """Return the user id as the tables write it: canonical, and a pseudonym where the config asks for them."""
    ids = canonicalize_ids(pa.array([user_id], pa.string()), prepare.id_case)
    if prepare.pseudonymize_with:
        ids = pseudonymize(ids, read_key(prepare.pseudonymize_with, os.environ))
    return str(ids[0].as_py() or user_id)


def known_item(item_id: str, prepare: Prepare) -> str:
    """Return the item id as the tables write it."""
    return str(canonicalize_ids(pa.array([item_id], pa.string()), prepare.id_case)[0].as_py() or item_id)


def some_users(lake: Lake, ds: date, number: int) -> list[str]:
    """Return users with a middling history: the ones whose lists tell most, always the same ones."""
    release = latest_release(lake, ds)
    if release is None:
        raise InputNotReadyError(f"nothing published for {ds} in {lake.root}; run the night first")
    known = read_prepared(lake, Tables.USER_HISTORIES, ds, prepared_by(release))
    histories = known.where("size(history) BETWEEN 5 AND 15")
    return [row.user_id for row in histories.orderBy(F.sha2("user_id", 256)).limit(number).collect()]


def _how_read(lake: Lake, ds: date, prepared: str, table: str, key: str) -> Row | None:
    """Return how the query behind a list was read; None where there is none, or an older version made the list."""
    if not lake.exists(Tables.QUERY_UNDERSTANDING):
        return None
    read = read_prepared(lake, Tables.QUERY_UNDERSTANDING, ds, prepared)
    if table == Tables.QUERY_RECOMMENDATIONS:
        return read.where(F.col("query") == key).first()
    if table == Tables.REQUEST_RECOMMENDATIONS:
        requests = read_prepared(lake, Tables.REQUESTS, ds, prepared).where(F.col("request_id") == key)
        return read.join(requests.select("query"), "query").first()
    return None


def _history(histories: DataFrame, user_id: str, titles: DataFrame) -> list[Row]:
    user = histories.where(F.col("user_id") == user_id)
    entries = user.select(F.explode(F.arrays_zip("history", "history_codes", "history_times")).alias("e"))
    names = F.element_at(F.array(*(F.lit(name) for name in EVENT_TYPES)), F.col("e.history_codes") + 1)
    flat = entries.select(
        F.col("e.history").alias("item_index"), names.alias("event_type"), F.col("e.history_times").alias("time")
    )
    return (
        flat.join(titles, "item_index")
        .orderBy(F.desc("time"), "item_index")
        # Text made by Spark: collected as a time, it would be turned to the zone of the driver's machine.
        .select(
            F.date_format("time", "yyyy-MM-dd HH:mm:ss").alias("time"),
            "event_type",
            F.col("i").alias("item_id"),
            "title",
        )
        .collect()
    )
