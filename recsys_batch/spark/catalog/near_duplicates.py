"""Near duplicates: catalog items that are one product under several ids are linked to the oldest of them."""

from typing import Literal

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from recsys_batch.rules.texts.near_duplicates import title_key
from recsys_batch.spark.catalog.attributes import BRAND_NAMES, CATEGORY_NAMES, attribute, name_key

# Items of one title and brand: those that may be one product.
_ALIKE = ("_key", "_brand_group")


@F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
def title_keys(titles: pa.Array) -> pa.Array:
    """Return the keys of a title column (`rules.texts.near_duplicates.title_key`)."""
    return pa.array([title_key(title) for title in titles.to_pylist()], pa.string())


def link_near_duplicates(items: DataFrame, policy: Literal["link", "keep"] = "link") -> DataFrame:
    """Add `canonical_index` and `canonical_item_id`: of the items that are one product, the one of least item_index.

    Items of one title key (`rules.texts.near_duplicates`) are one product unless the catalog says otherwise. They are
    split by brand where they name several, and then by whatever else they differ in: domain, category, or the value of
    an attribute that several of them give (color, size, model number). What an item does not say counts as a value of
    its own where the others differ, for nobody knows which of them it repeats; where the others agree, it is one of
    them. An item whose title has no letter or digit is its own. Under `keep` every item is its own.

    A wrong link hides a product, a missing one shows it twice: so in doubt items stay apart. The rule does not depend
    on the order of rows. `items` (item_id, item_index, title, brand, category, domain, attributes, ...) is read several
    times: persist it.
    """
    if policy == "keep":
        return items.withColumn("canonical_index", F.col("item_index")).withColumn(
            "canonical_item_id", F.col("item_id")
        )
    links = _links(items)
    return (
        items.join(links, "item_index", "left")
        .withColumn("canonical_index", F.coalesce("canonical_index", "item_index"))
        .withColumn("canonical_item_id", F.coalesce("canonical_item_id", "item_id"))
    )


def _links(items: DataFrame) -> DataFrame:
    """Return (item_index, canonical_index, canonical_item_id) of the items whose title another item shares."""
    said = _said(items)
    shared = (
        said.where("_key IS NOT NULL")
        .groupBy("_key")
        .agg(F.count("*").alias("_items"), (F.count_distinct("_brand") > 1).alias("_has_brands"))
        .where("_items > 1")
    )
    # Few titles are shared: what follows is small.
    rows = said.join(shared, "_key").withColumn(
        "_brand_group", F.coalesce(F.when(F.col("_has_brands"), F.col("_brand")), F.lit(""))
    )
    oldest_first = Window.partitionBy(*_ALIKE, "_signature").orderBy("item_index")
    return _sign(rows).select(
        "item_index",
        F.first("item_index").over(oldest_first).alias("canonical_index"),
        F.first("item_id").over(oldest_first).alias("canonical_item_id"),
    )


def _said(items: DataFrame) -> DataFrame:
    """Return what each item says of itself, in comparable form; `_pairs` holds what may tell it from others."""
    attributes = F.transform(
        F.coalesce(F.map_entries("attributes"), F.array()),
        lambda entry: _pair(F.concat(F.lit("attribute "), name_key(entry["key"])), entry["value"]),
    )
    others = F.array(
        _pair(F.lit("category"), F.coalesce("category", attribute(CATEGORY_NAMES))),
        _pair(F.lit("domain"), F.col("domain")),
    )
    return items.select(
        "item_index",
        "item_id",
        title_keys("title").alias("_key"),
        name_key(F.coalesce("brand", attribute(BRAND_NAMES))).alias("_brand"),
        F.concat(others, attributes).alias("_pairs"),
    )


def _pair(name: Column, value: Column) -> Column:
    return F.struct(name.alias("name"), name_key(value).alias("value"))


def _sign(rows: DataFrame) -> DataFrame:
    """Add `_signature`: the item's values of whatever tells the items of its title and brand apart."""
    named = Window.partitionBy(*_ALIKE, "_pair.name")
    value = F.col("_pair.value")
    pairs = rows.select(*_ALIKE, "item_index", "item_id", F.explode("_pairs").alias("_pair"))
    telling = pairs.withColumn("_tells", F.min(value).over(named) < F.max(value).over(named))
    # The pairs of one item: as many as it has attributes.
    signature = F.collect_set(F.when(F.col("_tells") & value.isNotNull(), F.col("_pair")))
    return telling.groupBy(*_ALIKE, "item_index", "item_id").agg(F.to_json(F.array_sort(signature)).alias("_signature"))
