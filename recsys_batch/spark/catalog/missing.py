"""Missing catalog values: each field is filled from the sources that the config names, or stays missing."""

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.config.prepare import Missing
from recsys_batch.spark.catalog.attributes import BRAND_NAMES, CATEGORY_NAMES, attribute, attribute_price, name_key
from recsys_batch.spark.inputs.normalize import cleaned

# Field -> where its value was taken from.
FILLED: Final = "filled"
FILLED_DDL: Final = "map<string,string>"

_MIN_BRAND_ITEMS = 3
# Longest start of a title that can be a brand, and the shortest: one character names nothing.
_BRAND_CHARACTERS = (2, 30)
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"


def fill_missing(items: DataFrame, missing: Missing) -> DataFrame:
    """Fill brand, category and price where they are null, and say in the map `filled` which and from where.

    `items` is the linked catalog (`near_duplicates.link_near_duplicates`); its own column `filled`, where there is one,
    keeps its entries. What no source gives stays null. The sources:

    - `attributes`: an attribute of the field's name, such as `Manufacturer` or `品牌`.
    - `near_duplicates`: of the items linked to the same canonical one, the most frequent brand or category (of equally
      frequent ones the least), or the median price of those in the item's currency.
    - `title`: a brand that at least 3 items name, most of them at the start of their titles, and that this title
      begins with too, as whole words or, in Chinese, characters. The longest such brand counts.

    Filled values serve as evidence for other items only where they come from the item's own attributes.
    """
    evidence = _evidence(items, missing)
    needy = evidence.where("_given_brand IS NULL OR _given_category IS NULL OR _given_price IS NULL")
    found = _join_sources(needy, evidence, missing)
    # The wide rows take part in one join only, and in none of the steps before it.
    joined = items.join(
        found.select(
            "item_index",
            _choice("brand", missing.brand).alias("_brand"),
            _choice("category", missing.category).alias("_category"),
            _choice("price", missing.price).alias("_price"),
        ),
        "item_index",
        "left",
    )
    fields = ("brand", "category", "price")
    sources = F.array(*(F.struct(F.lit(f).alias("key"), F.col(f"_{f}.source").alias("value")) for f in fields))
    made = F.map_from_entries(F.filter(sources, lambda entry: entry["value"].isNotNull()))
    before = F.col(FILLED) if FILLED in items.columns else F.lit(None)
    return joined.select(
        *(F.coalesce(c, F.col(f"_{c}.value")).alias(c) if c in fields else c for c in items.columns if c != FILLED),
        F.map_concat(F.coalesce(before.cast(FILLED_DDL), F.create_map().cast(FILLED_DDL)), made).alias(FILLED),
    )


def _evidence(items: DataFrame, missing: Missing) -> DataFrame:
    """Return what each item says itself (brand, category, price), and in its attributes alone (`_attributes_*`)."""
    said = items.select(
        "item_index",
        "canonical_index",
        F.coalesce("currency", F.lit("")).alias("_currency"),
        name_key(F.col("title")).alias("_title"),
        *(F.col(field).alias(f"_given_{field}") for field in ("brand", "category", "price")),
        attribute(BRAND_NAMES).alias("_attributes_brand"),
        attribute(CATEGORY_NAMES).alias("_attributes_category"),
        attribute_price().alias("_attributes_price"),
    )
    for field, sources in (("brand", missing.brand), ("category", missing.category), ("price", missing.price)):
        given = F.col(f"_given_{field}")
        said = said.withColumn(field, F.coalesce(given, f"_attributes_{field}") if "attributes" in sources else given)
    return said


def _join_sources(needy: DataFrame, evidence: DataFrame, missing: Missing) -> DataFrame:
    # Only these few need the Python worker; as evidence for others the values serve as they are.
    found = needy.withColumns({c: cleaned(c) for c in ("_attributes_brand", "_attributes_category")})
    if any("near_duplicates" in sources for sources in (missing.brand, missing.category, missing.price)):
        linked = evidence.where("item_index <> canonical_index").select("canonical_index").distinct()
        twins = evidence.join(linked, "canonical_index", "left_semi")
        names = twins.groupBy("canonical_index").agg(
            F.mode("brand", True).alias("_near_duplicates_brand"),
            F.mode("category", True).alias("_near_duplicates_category"),
        )
        prices = twins.groupBy("canonical_index", "_currency").agg(F.median("price").alias("_near_duplicates_price"))
        found = found.join(names, "canonical_index", "left").join(prices, ["canonical_index", "_currency"], "left")
    if "title" in missing.brand:
        found = found.join(_title_brands(needy, evidence), "item_index", "left")
    return found


def _title_brands(needy: DataFrame, evidence: DataFrame) -> DataFrame:
    """Return (item_index, _title_brand): the longest known brand that the title begins with, of items without brand."""
    shortest, longest = _BRAND_CHARACTERS
    named = evidence.where("brand IS NOT NULL").withColumn("_start", name_key(F.col("brand")))
    brands = (
        named.groupBy("_start")
        .agg(
            F.count("*").alias("_items"),
            F.count_if(F.startswith("_title", "_start")).alias("_leading"),
            F.mode("brand", True).alias("_title_brand"),
        )
        .where(f"_items >= {_MIN_BRAND_ITEMS} AND 2 * _leading > _items AND LENGTH(_start) >= {shortest}")
    )
    lengths = F.sequence(F.lit(shortest), F.least(F.length("_title"), F.lit(longest)))
    starts = (
        needy.where(f"_given_brand IS NULL AND LENGTH(_title) >= {shortest}")
        .select("item_index", "_title", F.explode(lengths).alias("_length"))
        .where(_ends_word(F.col("_title"), F.col("_length")))
        .select("item_index", "_length", F.substring("_title", F.lit(1), F.col("_length")).alias("_start"))
    )
    return (
        starts.join(brands, "_start")
        .groupBy("item_index")
        .agg(F.max_by("_title_brand", "_length").alias("_title_brand"))
    )


def _ends_word(title: Column, length: Column) -> Column:
    """Whether the first `length` characters of a title key end where a word does; a CJK character is a word."""
    last, after = F.substring(title, length, F.lit(1)), F.substring(title, length + 1, F.lit(1))
    return (last != " ") & ((after == "") | (after == " ") | last.rlike(f"[{_CJK}]") | after.rlike(f"[{_CJK}]"))


def _choice(field: str, sources: Sequence[str]) -> Column:
    """Return (value, source) of the first source that gives the field; null where the item has it, or none does."""
    values = ((F.col(f"_{source}_{field}"), source) for source in sources)
    offers = [F.when(v.isNotNull(), F.struct(v.alias("value"), F.lit(source).alias("source"))) for v, source in values]
    nothing = F.lit(None).cast(f"struct<value: {'double' if field == 'price' else 'string'}, source: string>")
    return F.when(F.col(f"_given_{field}").isNull(), F.coalesce(*offers, nothing))
