"""Notes on single values of a row: what was given and could not be read, cut texts, ids that stand twice.

They go with the row from the source to where it is counted, so that nothing that a shop gives is silently lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.spark.inputs.values import IDS, MAX_TEXT

# What was wrong with single values of a row: null where nothing was.
NOTES = "_notes"
NOTES_TYPE = "array<struct<note:string,column:string,value:string>>"
# A value was given and cannot be read; a text was longer than `MAX_TEXT`; an event_id stands on rows that differ.
UNREAD, CUT, REUSED = "unread", "cut", "reused"
_NOTED_CHARS = 60

# What stands where there is no value, in files that know no null.
_NOTHING = (
    "",
    "nan",
    "null",
    "none",
    "nil",
    "n/a",
    "na",
    "#n/a",
    "-",
    "--",
    r"\n",
    "inf",
    "-inf",
    "infinity",
    "-infinity",
)


@dataclass(frozen=True)
class Noted:
    """How many rows have a note on a column, and some of the values."""

    note: str
    column: str
    rows: int
    examples: tuple[str, ...]


def notes_on(
    select: Mapping[str, str], types: Mapping[str, str], raw: Mapping[str, str], made: Mapping[str, Column]
) -> Column:
    """Return the column `NOTES` of a source: which given values came to nothing, and which texts were cut.

    `select` has the expression of each column, `types` its type in the input table, `raw` that of the expression, and
    `made` the typed column. A value that is there in the right type needs no look.
    """
    found = []
    for column, expression in select.items():
        text = F.expr(f"CAST(({expression}) AS STRING)")
        if types[column] == "string" and column not in IDS:
            if raw[column] in ("string", "binary"):
                found.append(F.when(F.length(text) > MAX_TEXT, _note(CUT, column, F.length(text).cast("string"))))
        elif _may_come_to_nothing(raw[column], types[column]):
            given = text.isNotNull() & ~F.lower(F.trim(text)).isin(*_NOTHING)
            value = F.left(F.make_valid_utf8(text), F.lit(_NOTED_CHARS))
            found.append(F.when(made[column].isNull() & given, _note(UNREAD, column, value)))
    if not found:
        return F.lit(None).cast(NOTES_TYPE)
    notes = F.filter(F.array(*found), lambda note: note.isNotNull())
    return F.when(F.size(notes) > 0, notes).cast(NOTES_TYPE)


def count_notes(rows: DataFrame, num_examples: int = 3) -> list[Noted]:
    """Count the notes of the rows by kind and column, most first, with the first values in their order."""
    counted = (
        rows.where(F.col(NOTES).isNotNull())
        .select(F.explode(NOTES).alias("n"))
        .groupBy("n.note", "n.column", "n.value")
        .agg(F.count("*").alias("rows"))
        .groupBy("note", "column")
        .agg(F.sum("rows").alias("rows"), F.expr(f"MAX_BY(value, rows, {num_examples})").alias("examples"))
    )
    found = [Noted(row.note, row.column, row.rows, tuple(sorted(row.examples))) for row in counted.collect()]
    return sorted(found, key=lambda noted: (-noted.rows, noted.note, noted.column))


def has_note(note: str, column: str) -> Column:
    """Whether the row has this note on the column."""
    there = F.exists(NOTES, lambda each: (each["note"] == note) & (each["column"] == column))
    return F.coalesce(there, F.lit(False))


def with_note(note: str, column: str) -> Column:
    """Return the row's notes and one more, on the value in `column`."""
    value = F.left(F.col(column).cast("string"), F.lit(_NOTED_CHARS))
    own = F.coalesce(F.col(NOTES), F.array().cast(NOTES_TYPE))
    return F.concat(own, F.array(_note(note, column, value)))


def without_values(columns: Sequence[str]) -> Column:
    """Return the row's notes, those on the columns with no more of the value than its length."""

    def hide(note: Column) -> Column:
        length = F.concat(F.lit("…("), F.length(note["value"]), F.lit(")"))
        value = F.when(note["column"].isin(*columns), length).otherwise(note["value"])
        return F.struct(note["note"].alias("note"), note["column"].alias("column"), value.alias("value"))

    return F.transform(NOTES, hide).cast(NOTES_TYPE)


def _note(note: str, column: str, value: Column) -> Column:
    return F.struct(F.lit(note).alias("note"), F.lit(column).alias("column"), value.alias("value"))


def _may_come_to_nothing(raw: str, kind: str) -> bool:
    """Whether a value of the type `raw` may be there and have none in `kind`; those of the same type cannot."""
    if kind.startswith(("map", "array")):
        return False
    return raw in ("string", "binary") or (kind == "string" and raw.startswith(("float", "double", "decimal")))
