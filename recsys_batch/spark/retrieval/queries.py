"""What search is made of: the fields of the catalog that words are looked for in, and what came of each query."""

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# Few clicks far down may not rule a query.
_MOST_FOR_PLACE = 10.0
_COUNTS = {"clicks": "click", "carts": "cart", "purchases": "purchase"}


def searched_fields(items: DataFrame) -> DataFrame:
    """Return each item's fields as text; an attribute is its name and its value."""
    pairs = F.transform(
        F.array_sort(F.map_entries("attributes")), lambda pair: F.concat_ws(" ", pair["key"], pair["value"])
    )
    return items.select(
        "item_id",
        "item_index",
        "title",
        "brand",
        "category",
        "description",
        F.array_join(pairs, " ").alias("attributes"),
    )


def acts_after(
    results: DataFrame, ds: date, event_weights: Mapping[str, float], half_life_days: float, examined: Column
) -> DataFrame:
    """Return (query, item_index, weight) of what customers acted on after a query (`labels.session_results`).

    Each act counts what its type weighs, halved every `half_life_days` before the end of `ds`, and divided by
    `examined`, how likely anyone looks at the place where the item was shown (null: not known): a click far down says
    more than one at the top.
    """
    end = F.lit(ds + timedelta(days=1)).cast("timestamp")
    age_days = (F.unix_timestamp(end) - F.unix_timestamp("last_time")) / 86400.0
    weighed = sum((F.col(column) * event_weights.get(kind, 0.0) for column, kind in _COUNTS.items()), start=F.lit(0.0))
    by_place = F.least(F.lit(1.0) / F.coalesce(examined, F.lit(1.0)), F.lit(_MOST_FOR_PLACE))
    decayed = weighed * by_place * F.pow(F.lit(0.5), F.greatest(age_days, F.lit(0.0)) / half_life_days)
    acts = results.where("query IS NOT NULL").withColumn("weight", decayed).where("weight > 0")
    return acts.groupBy("query", "item_index").agg(F.sum("weight").alias("weight"))
