"""The catalog: raw item rows get one status each; one row an item is chosen and completed."""

from datetime import date, timedelta

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import ItemText
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.errors import DuplicateItemsError
from recsys_batch.rules.texts.documents import build_document
from recsys_batch.spark.catalog.attributes import TITLE_NAMES, attribute
from recsys_batch.spark.catalog.missing import FILLED, FILLED_DDL
from recsys_batch.spark.inputs.normalize import canonical_id, cleaned
from recsys_batch.spark.inputs.notes import NOTES
from recsys_batch.spark.inputs.quarantine import FILTERED, OUTSIDE_WINDOW, STATUS, USED
from recsys_batch.spark.inputs.sources import KEPT

# A description's first sentence that is longer than this is no title.
_MAX_TITLE_CHARACTERS = 200


def classify_items(items: DataFrame, prepare: Prepare, ds: date) -> DataFrame:
    """Give every raw catalog row a `status`; ids canonical, texts cleaned of markup, missing titles filled.

    A row of a later time than `ds` is outside the window, so that nothing later leaks into the night; but of an item
    that has no earlier usable row, one of the `catalog_grace_hours` after `ds` is used. `filled` says where a title
    that the row lacks was taken from (`prepare.missing.title`).
    """
    texts = ("title", "description", "category", "brand")
    canonical = items.select(
        *(
            canonical_id(c, prepare.id_case).alias(c)
            if c == "item_id"
            else cleaned(c).alias(c)
            if c in texts
            else F.col(c)
            for c in Inputs.TYPES["items"]
        ),
        KEPT,
        NOTES,
        cleaned(attribute(TITLE_NAMES)).alias("_attributes"),
    )
    titled = _fill_titles(canonical, prepare)
    end = F.lit(ds + timedelta(days=1)).cast("timestamp")
    no_product = F.col("item_id").rlike(prepare.non_product_ids) if prepare.non_product_ids else F.lit(False)
    status = (
        F.when(~F.col(KEPT), FILTERED)
        .when(
            F.col("updated_at") >= end + F.make_dt_interval(secs=F.lit(prepare.catalog_grace_hours * 3600)),
            OUTSIDE_WINDOW,
        )
        .when(F.col("item_id").isNull(), "missing_item_id")
        .when(no_product, "non_product")
        .when(F.col("title").isNull(), "missing_title")
        .otherwise(USED)
    )
    # A shop that overwrites its catalog and changes an item between midnight and the night's run sells it all the same.
    is_late = F.coalesce(F.col("updated_at") >= end, F.lit(False))
    in_time = F.max((F.col(STATUS) == USED) & ~is_late).over(Window.partitionBy("item_id", _apart()))
    settled = F.when((F.col(STATUS) == USED) & is_late & F.col("_in_time"), OUTSIDE_WINDOW).otherwise(F.col(STATUS))
    classified = titled.withColumn(STATUS, status).drop(KEPT)
    return classified.withColumn("_in_time", in_time).withColumn(STATUS, settled).drop("_in_time")


def _apart() -> Column:
    """Return a column that keeps rows without an id from coming together in one task."""
    return F.when(F.col("item_id").isNull(), F.xxhash64("title", "description", "price"))


def _fill_titles(items: DataFrame, prepare: Prepare) -> DataFrame:
    sentence = F.regexp_extract("description", r"^(.+?)(?:[.!?]+(?:\s|$)|[。!?]|$)", 1)
    first = F.when(F.length(sentence).between(1, _MAX_TITLE_CHARACTERS), sentence)
    offers = {"attributes": F.col("_attributes"), "description": first}
    sources = [(name, offers[name]) for name in prepare.missing.title]
    source = F.coalesce(F.lit(None).cast("string"), *(F.when(v.isNotNull(), F.lit(name)) for name, v in sources))
    filled = F.when(F.col("title").isNull() & source.isNotNull(), F.create_map(F.lit("title"), source))
    return (
        items.withColumn(FILLED, F.coalesce(filled, _nothing_filled()))
        .withColumn("title", F.coalesce("title", *(value for _, value in sources)))
        .drop("_attributes")
    )


def _nothing_filled() -> Column:
    return F.create_map().cast(FILLED_DDL)


def choose_items(items: DataFrame, policy: str) -> DataFrame:
    """Return one row an item id, chosen by the policy of `prepare.item_duplicates` from the used rows.

    Under `most_frequent` a title that a row gives goes before one that was filled. Raises DuplicateItemsError under
    `error` where an id has several different rows.
    """
    columns = [c for c in Inputs.TYPES["items"] if c != "item_id"]
    # Maps cannot be compared or grouped; their entries, sorted, can.
    packed = items.withColumn("attributes", F.array_sort(F.map_entries("attributes"))).withColumn(
        FILLED, F.array_sort(F.map_entries(FILLED))
    )
    if policy == "most_frequent":
        given = F.when(F.size(FILLED) == 0, F.col("title"))
        votes = {c: F.mode(c, True) for c in columns}
        votes["title"] = F.coalesce(F.mode(given, True), F.mode("title", True))
        votes[FILLED] = F.when(F.count(given) == 0, F.max_by(FILLED, F.struct("title", FILLED)))
        chosen = packed.groupBy("item_id").agg(*(vote.alias(c) for c, vote in votes.items()))
    else:
        if policy == "error":
            _refuse_duplicates(packed, columns)
        order = F.struct("updated_at", *(c for c in columns if c != "updated_at"), FILLED)
        chosen = packed.groupBy("item_id").agg(F.max(order).alias("row")).select("item_id", "row.*")
    return chosen.withColumn("attributes", F.map_from_entries("attributes")).withColumn(
        FILLED, F.coalesce(F.map_from_entries(FILLED), _nothing_filled())
    )


def _refuse_duplicates(items: DataFrame, columns: list[str]) -> None:
    distinct = items.select("item_id", *columns).distinct()
    repeated = distinct.groupBy("item_id").agg(
        F.count("*").alias("rows"), F.array_sort(F.collect_set("title")).alias("t")
    )
    worst = repeated.where("rows > 1").orderBy(F.desc("rows"), "item_id").limit(3).collect()
    if worst:
        examples = "; ".join(f"{row.item_id!r}: {row.rows} rows, titles {row.t[:3]}" for row in worst)
        raise DuplicateItemsError(
            f"sources.items: item_id: several different rows of one id ({examples}); mend the catalog, or set "
            "prepare.item_duplicates to `latest` (by updated_at) or `most_frequent`"
        )


def finish_items(
    items: DataFrame, item_text: ItemText, eligible_where: str, category_level: int, sentences: DataFrame | None
) -> DataFrame:
    """Add text, category_key and eligible to the linked and filled catalog, and settle which twin stands for all.

    `sentences` (item_id, sentences) are those that the text field `reviews` adds. Of items that are one product (one
    canonical_index) only the canonical one is eligible: of those that are available and pass `eligible_where` tonight
    the one of least item_index, so that what the shop knows of the product goes to the one that can be had. Where none
    can, the least of all stays canonical, and none is eligible.
    """
    passes = F.expr(eligible_where) if eligible_where else F.lit(True)
    # A shop that says of some goods whether they can be had, and not of this one, does not promise it.
    columns = items.columns
    told = items.where("available IS NOT NULL").limit(1).select(F.lit(True).alias("_told"))
    items = items.join(F.broadcast(told), how="left")
    sellable = F.coalesce("available", F.col("_told").isNull()) & F.coalesce(passes, F.lit(False))
    linked = items.where("item_index <> canonical_index").select("canonical_index").distinct()
    # Few items have twins, so that this side of the join is small.
    offered = (
        items.where(sellable)
        .join(linked, "canonical_index", "left_semi")
        .groupBy("canonical_index")
        .agg(F.min(F.struct("item_index", "item_id")).alias("_offered"))
    )
    if sentences is not None:
        with_sentences = items.join(sentences.select("item_id", "sentences"), "item_id", "left")
    else:
        with_sentences = items.withColumn("sentences", F.lit(None).cast("array<string>"))
    levels = F.slice(F.split("category", r"\s*>\s*"), 1, category_level)
    return (
        with_sentences.join(offered, "canonical_index", "left")
        .withColumn("text", _document(item_text))
        .withColumn("category_key", F.array_join(levels, " > "))
        .withColumn("canonical_index", F.coalesce("_offered.item_index", "canonical_index"))
        .withColumn("canonical_item_id", F.coalesce("_offered.item_id", "canonical_item_id"))
        .withColumn("eligible", sellable & (F.col("item_index") == F.col("canonical_index")))
        .select(*columns, "text", "category_key", "eligible")
    )


def _document(item_text: ItemText) -> Column:
    fields, max_tokens = tuple(item_text.fields), item_text.max_tokens
    names = ("title", "brand", "category", "description")

    @F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
    def document(
        title: pa.Array,
        brand: pa.Array,
        category: pa.Array,
        description: pa.Array,
        attributes: pa.Array,
        sentences: pa.Array,
    ) -> pa.Array:
        columns = (title, brand, category, description, attributes, sentences)
        made = [
            build_document(fields, max_tokens, dict(zip(names, row[:4], strict=True)), dict(row[4] or ()), row[5])
            for row in zip(*(column.to_pylist() for column in columns), strict=True)
        ]
        return pa.array(made, pa.string())

    return document(*names, "attributes", "sentences")  # type: ignore[no-any-return]
