"""What a source looks like before and after its expressions: a few rows, and how many values there are."""

import re
from collections.abc import Collection
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.data_profile import SourcePreview, mask_id
from recsys_batch.spark.inputs.notes import UNREAD, has_note
from recsys_batch.spark.inputs.readers import load_by_name
from recsys_batch.spark.inputs.sources import KEPT, at_date, read_source

_MAX_CHARS = 40
# Ids of people, or made of them.
_HIDDEN = ("user_id", "session_id", "event_id", "request_id")


def preview_source(
    spark: SparkSession, table: str, number: int, source: Source, ds: date, num_rows: int = 3, max_rows: int = 100_000
) -> SourcePreview:
    """Look at the first rows of a source. Raises what reading it raises."""
    where = f"sources.{table}.{number}"
    dated = at_date(source, ds)
    raw = load_by_name(spark, where, dated)[0]
    typed = read_source(spark, table, number, dated)
    columns = list(source.select)
    looked_at = typed.where(KEPT).limit(max_rows)
    row = looked_at.agg(
        F.count("*").alias("rows"),
        *(F.count_if(F.col(column).isNull()).alias(f"null_{column}") for column in columns),
        *(F.count_if(has_note(UNREAD, column)).alias(f"unread_{column}") for column in columns),
        F.count_if(F.to_date("event_time") == F.lit(ds) if table == "events" else F.lit(False)).alias("on_ds"),
    ).first()
    assert row is not None  # a global aggregate has one row  # noqa: S101
    return SourcePreview(
        where,
        dated.path,
        _shown(raw.limit(num_rows), _ids_of(raw, source)),
        _shown(typed.select(*columns).limit(num_rows), _HIDDEN),
        row["rows"],
        {column: row[f"null_{column}"] / max(row["rows"], 1) for column in columns},
        {column: row[f"unread_{column}"] for column in columns if row[f"unread_{column}"]},
        row.on_ds if table == "events" else None,
    )


def _ids_of(raw: DataFrame, source: Source) -> tuple[str, ...]:
    """Return the columns of the file that ids of people are made of."""
    used = " ".join(expression for column, expression in source.select.items() if column in _HIDDEN).lower()
    return tuple(column for column in raw.columns if re.search(rf"\b{re.escape(column.lower())}\b", used))


def _shown(rows: DataFrame, hidden: Collection[str]) -> tuple[dict[str, str], ...]:
    texts = rows.select(*(F.left(F.col(f"`{c}`").cast("string"), F.lit(_MAX_CHARS)).alias(c) for c in rows.columns))
    return tuple(
        {name: "null" if value is None else mask_id(value) if name in hidden else value for name, value in each.items()}
        for each in (row.asDict() for row in texts.collect())
    )
