"""Published user lists against what their users did afterwards, beside a list of what was popular.

Knows releases and prepared tables; the lists themselves are as the night published them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, prepared_by, read_release

# Popular items before those of the user are taken out: who has more of them gets a shorter list.
_POPULAR_POOL = 300


@dataclass(frozen=True)
class Outcome:
    """The lists of a date, and what came of them."""

    lists: DataFrame
    """user_id, item_id, rank: the published lists."""
    popular: DataFrame
    """The same for users with a target, of the items that most users bought before."""
    own: DataFrame
    """The same of what each of them bought before, by exp(-age / 60 days); empty without repeats."""
    targets: DataFrame
    """user_id, item_id: what the users did in the days after."""
    before: DataFrame
    """user_id, item_id, day: what users had done by then, of what counts."""
    num_acts: DataFrame
    """user_id, num_acts: how much users had done before, of what counts."""
    first: date
    last: date
    """The days that the targets are of."""


@dataclass(frozen=True)
class Later:
    """The newest published night, which knows what came after a date."""

    newest: date
    prepared_run: str
    """Whose prepared rows of `newest` know it."""
    last: date
    """The last day that counts."""


def find_release(lake: Lake, ds: date, table: str) -> Row:
    """Return the release that stands for the date. Raises InputNotReadyError where it, or its table, is not there."""
    release = latest_release(lake, ds)
    if release is None or table not in release.tables:
        raise InputNotReadyError(f"{table}: nothing published for {ds}; run the night first")
    return release


def find_later(lake: Lake, ds: date, days: int) -> Later:
    """Return who knows what came in the `days` after a date.

    Raises InputNotReadyError where no later date is published, whose night would know it.
    """
    later = [
        row.ds for row in lake.read(Tables.RELEASES).where(F.col("ds") > F.lit(ds)).select("ds").distinct().collect()
    ]
    if not later:
        raise InputNotReadyError(
            f"{Tables.RELEASES}: no night after {ds} is published, so nobody knows yet what came of its lists; publish "
            "a later date first"
        )
    newest = latest_release(lake, max(later))
    assert newest is not None  # its date has a row  # noqa: S101
    return Later(newest.ds, prepared_by(newest), min(newest.ds, ds + timedelta(days=days)))


def follow_up(
    lake: Lake,
    ds: date,
    *,
    event_types: Sequence[str] = ("purchase",),
    length: int,
    days: int = 7,
    repeats: bool = False,
) -> Outcome:
    """Return the user lists published for `ds` with the events of the `days` after, as later nights prepared them.

    For the rest see `outcome_of`. Raises the errors of `find_release` and `find_later`.
    """
    release, later = find_release(lake, ds, Tables.USER_RECOMMENDATIONS), find_later(lake, ds, days)
    return outcome_of(
        read_release(lake, release, Tables.USER_RECOMMENDATIONS),
        read_prepared(lake, Tables.ITEMS, later.newest, later.prepared_run),
        read_prepared(lake, Tables.INTERACTIONS, later.newest, later.prepared_run),
        ds,
        later.last,
        event_types=event_types,
        length=length,
        repeats=repeats,
    )


def outcome_of(
    published: DataFrame,
    items: DataFrame,
    interactions: DataFrame,
    ds: date,
    last: date,
    *,
    event_types: Sequence[str],
    length: int,
    repeats: bool,
    popular_days: int = 30,
    decay_days: float = 60.0,
    keep: Callable[[DataFrame], DataFrame] = DataFrame.persist,
) -> Outcome:
    """Return the lists `published` for `ds` with what their users did from the day after to `last`.

    `items` and `interactions` are as a night of `last` or later prepared them; an item counts under its canonical id
    there. `length` is that of the lists, and of those beside them. Without `repeats` an item that the user had bought
    by `ds` is no target and is in no list of popular items. `keep` stores what is read several times. To be read in the
    shop's time zone (`session.local_time`).
    """
    items = items.select("item_id", "canonical_item_id", "eligible")
    acts = with_canonical_items(interactions.where(~F.col("undone")), items)
    counted = acts.where(F.col("event_type").isin(*event_types))
    acts = keep(counted.select("user_id", "item_id", F.to_date("event_time").alias("day")))
    before = acts.where(F.col("day") <= F.lit(ds)).select("user_id", "item_id", "day")
    owned = before.select("user_id", "item_id").distinct()
    after = acts.where((F.col("day") > F.lit(ds)) & (F.col("day") <= F.lit(last)))
    targets = after.select("user_id", "item_id").distinct()
    lists = with_canonical_items(published, items)
    lists = keep(lists.select("user_id", "item_id", "rank"))
    # Who had no list is no fault of the lists: such users came after them.
    targets = targets.join(lists.select("user_id").distinct(), "user_id", "left_semi")
    if not repeats:
        targets = targets.join(owned, ["user_id", "item_id"], "left_anti")
    targets = keep(targets)
    users = targets.select("user_id").distinct()
    recent = before.where(F.col("day") > F.lit(ds - timedelta(days=popular_days)))
    popular = users.crossJoin(F.broadcast(_popular(recent, items.where("eligible"))))
    if not repeats:
        popular = popular.join(owned, ["user_id", "item_id"], "left_anti")
    age = F.datediff(F.lit(ds), "day")
    own = (
        before.join(users, "user_id", "left_semi")
        .groupBy("user_id", "item_id")
        .agg((-F.sum(F.exp(-age / F.lit(decay_days)))).alias("place"))
    )
    return Outcome(
        lists,
        _first(popular, length),
        _first(own if repeats else own.limit(0), length),
        targets,
        before,
        before.groupBy("user_id").agg(F.count("*").alias("num_acts")),
        ds + timedelta(days=1),
        last,
    )


def _first(placed: DataFrame, length: int) -> DataFrame:
    ranked = placed.withColumn("rank", F.row_number().over(Window.partitionBy("user_id").orderBy("place", "item_id")))
    return ranked.where(F.col("rank") <= F.lit(length)).select("user_id", "item_id", "rank")


def with_canonical_items(rows: DataFrame, items: DataFrame) -> DataFrame:
    """Replace the column item_id by that of the product in `items`; one that the catalog lacks stands for itself."""
    names = items.select("item_id", "canonical_item_id")
    joined = rows.join(names, "item_id", "left")
    return joined.withColumn("item_id", F.coalesce("canonical_item_id", "item_id")).drop("canonical_item_id")


def acts_between(interactions: DataFrame, first: date, last: date) -> DataFrame:
    """Return the interactions of the days from `first` to `last`."""
    return interactions.where(F.to_date("event_time").between(F.lit(first), F.lit(last)))


def _popular(recent: DataFrame, items: DataFrame) -> DataFrame:
    bought = recent.join(items.select("item_id"), "item_id", "left_semi").groupBy("item_id")
    counted = bought.agg(F.count_distinct("user_id").alias("users"))
    top = counted.orderBy(F.desc("users"), "item_id").limit(_POPULAR_POOL)
    return top.withColumn("place", F.row_number().over(Window.orderBy(F.desc("users"), "item_id"))).drop("users")
