"""The catalog: raw item rows get one status each; one row an item is chosen and completed."""

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config import ItemText
from recsys_batch.contracts.errors import DuplicateItemsError
from recsys_batch.rules.text import IdCase, build_item_text
from recsys_batch.spark.normalize import canonical_id, cleaned
from recsys_batch.spark.quarantine import FILTERED, STATUS, USED
from recsys_batch.spark.sources import KEPT


def classify_items(items: DataFrame, case: IdCase) -> DataFrame:
    """Give every raw catalog row a `status`; ids canonical, texts cleaned of markup."""
    texts = ("title", "description", "category", "brand")
    canonical = items.select(
        *(
            canonical_id(c, case).alias(c) if c == "item_id" else cleaned(c).alias(c) if c in texts else F.col(c)
            for c in Inputs.TYPES["items"]
        ),
        KEPT,
    )
    status = (
        F.when(~F.col(KEPT), FILTERED)
        .when(F.col("item_id").isNull(), "missing_item_id")
        .when(F.col("title").isNull(), "missing_title")
        .otherwise(USED)
    )
    return canonical.withColumn(STATUS, status).drop(KEPT)


def choose_items(items: DataFrame, policy: str) -> DataFrame:
    """Return one row an item id, chosen by the policy of `prepare.item_duplicates`.

    Raises DuplicateItemsError under `error` where an id has several different rows.
    """
    columns = [c for c in Inputs.TYPES["items"] if c != "item_id"]
    # Maps cannot be compared or grouped; their entries, sorted, can.
    packed = items.withColumn("attributes", F.array_sort(F.map_entries("attributes")))
    if policy == "most_frequent":
        chosen = packed.groupBy("item_id").agg(*(F.mode(c, True).alias(c) for c in columns))
    else:
        if policy == "error":
            _refuse_duplicates(packed, columns)
        order = F.struct("updated_at", *(c for c in columns if c != "updated_at"))
        chosen = packed.groupBy("item_id").agg(F.max(order).alias("row")).select("item_id", "row.*")
    return chosen.withColumn("attributes", F.map_from_entries("attributes"))


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


def finish_items(chosen: DataFrame, item_text: ItemText, eligible_where: str, category_level: int) -> DataFrame:
    """Add item_index (dense, in the order of item_id), text, category_key and eligible to the chosen catalog rows."""
    fields, max_chars = tuple(item_text.fields), item_text.max_chars

    @F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
    def text(
        title: pa.Array, brand: pa.Array, category: pa.Array, description: pa.Array, attributes: pa.Array
    ) -> pa.Array:
        names = ("title", "brand", "category", "description")
        rows = zip(*(a.to_pylist() for a in (title, brand, category, description)), attributes.to_pylist(), strict=True)
        made = [
            build_item_text(fields, max_chars, dict(zip(names, r[:4], strict=True)), dict(r[4] or ())) for r in rows
        ]
        return pa.array(made, pa.string())

    passes = F.expr(eligible_where) if eligible_where else F.lit(True)
    levels = F.slice(F.split("category", r"\s*>\s*"), 1, category_level)
    return (
        chosen.withColumn("text", text("title", "brand", "category", "description", "attributes"))
        .withColumn("category_key", F.array_join(levels, " > "))
        .withColumn("eligible", F.coalesce("available", F.lit(True)) & F.coalesce(passes, F.lit(False)))
        # One small column through one task: the order of item_id is what makes ties deterministic.
        .withColumn("item_index", (F.row_number().over(Window.orderBy("item_id")) - 1).cast("int"))
    )
