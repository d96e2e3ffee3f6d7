"""Accounts that are no shoppers: measured by what they do, flagged by the rules of `prepare.accounts`."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.config.prepare import Accounts

BOT = "bot"
RESELLER = "reseller"
# What people do on purpose; impressions and searches come in bursts that a page makes by itself.
_ACTS = ("view", "click", "cart", "purchase", "favorite")


def flag_accounts(events: DataFrame, num_items: int, rules: Accounts) -> DataFrame:
    """Return the flagged users: user_id, kind (`bot` or `reseller`) and the figures that the rules looked at.

    `events` has user_id, item_id, event_type, event_time and quantity. A bot has at least `bot_busy_minutes` busy
    minutes on some day (a minute with `busy_minute_acts` acts or more), or touched more than `bot_catalog_share` of
    the catalog's `num_items` items and at least `bot_min_items`. A reseller is no bot, bought at least
    `reseller_purchases` times, and on average `reseller_quantity` pieces.
    """
    acts = events.where(F.col("event_type").isin(*_ACTS))
    minute = F.date_trunc("minute", "event_time")
    busy = (
        acts.groupBy("user_id", minute.alias("minute"))
        .agg(F.count("*").alias("acts"))
        .where(F.col("acts") >= rules.busy_minute_acts)
        .groupBy("user_id", F.to_date("minute").alias("day"))
        .agg(F.count("*").alias("minutes"))
        .groupBy("user_id")
        .agg(F.max("minutes").alias("busy_minutes"))
    )
    touched = (
        acts.groupBy("user_id")
        .agg(F.count("*").alias("num_acts"), F.approx_count_distinct("item_id", 0.02).alias("num_items"))
        .where(F.col("num_items") >= rules.bot_min_items)
    )
    bought = (
        events.where("event_type = 'purchase'")
        .groupBy("user_id")
        .agg(
            F.count("*").alias("num_purchases"),
            F.avg(F.abs(F.coalesce("quantity", F.lit(1.0)))).alias("mean_quantity"),
        )
        .where(
            (F.col("num_purchases") >= rules.reseller_purchases) & (F.col("mean_quantity") >= rules.reseller_quantity)
        )
    )
    suspects = (
        busy.where(F.col("busy_minutes") >= rules.bot_busy_minutes)
        .join(touched, "user_id", "full")
        .join(bought, "user_id", "full")
        .withColumn("catalog_share", F.col("num_items") / F.lit(float(max(num_items, 1))))
    )
    is_bot = F.col("busy_minutes").isNotNull() | (F.col("catalog_share") > rules.bot_catalog_share)
    kind = F.when(is_bot, BOT).when(F.col("num_purchases").isNotNull(), RESELLER)
    figures = ("busy_minutes", "num_acts", "catalog_share", "num_purchases", "mean_quantity")
    return suspects.withColumn("kind", kind).where("kind IS NOT NULL").select("user_id", "kind", *figures)


def treatment(rules: Accounts) -> dict[str, str]:
    """Return what is done with each kind: keep, cap or exclude."""
    return {BOT: rules.bots, RESELLER: rules.resellers}
